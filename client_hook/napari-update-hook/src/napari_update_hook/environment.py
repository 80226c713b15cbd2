"""The Python environment and its installed distributions, as plain values."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from napari_update_hook.versions import parsed

PLUGIN_GROUPS = ("napari.manifest", "napari.plugin")


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    ``requires``: Requires-Dist lines. ``installer``: content of the INSTALLER file. ``is_local``: installed from a folder,
    repository or file (``origin``) instead of an index. ``changelog``: URL.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    installer: str = ""
    is_plugin: bool = False
    is_local: bool = False
    origin: str | None = None
    is_editable: bool = False
    changelog: str | None = None

    @property
    def is_replaceable(self) -> bool:
        """Whether a release may replace it: not a local installation, a local build (``1.2+abc``) or an invalid version."""
        version = parsed(self.version)
        return not self.is_local and version is not None and version.local is None


@dataclass(frozen=True)
class Environment:
    """A Python environment. ``python``: version, such as ``3.11.4``. ``distributions``: by normalized name."""

    python: str
    channel: str = "pypi"
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    is_free_threaded: bool = False

    @property
    def python_minor(self) -> str:
        return ".".join(self.python.split(".")[:2])

    @property
    def napari(self) -> str | None:
        """The napari version that plugins must support; for a development version, its base version."""
        installed = self.distributions.get("napari")
        version = parsed(installed.version) if installed is not None else None
        return version.base_version if version is not None else None

    @property
    def development_napari(self) -> str | None:
        """The installed napari version if it is not a final release, else None."""
        installed = self.distributions.get("napari")
        version = parsed(installed.version) if installed is not None else None
        is_final = installed is None or (version is not None and not version.is_prerelease and version.local is None)
        return None if installed is None or is_final else installed.version

    def channel_of(self, name: str) -> str:
        installer = self.distributions[name].installer
        return self.channel if not installer else "conda-forge" if installer == "conda" else "pypi"


def read_environment() -> Environment:
    distributions = installed()
    return Environment(
        python="{}.{}.{}".format(*sys.version_info[:3]),
        channel=channel_of(distributions, Path(sys.prefix) / "conda-meta"),
        distributions=distributions,
        is_free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    )


def installed(found: Iterable[metadata.Distribution] | None = None) -> dict[str, Distribution]:
    """Return distributions by normalized name; of duplicates, the one that is imported."""
    distributions: dict[str, Distribution] = {}
    for item in metadata.distributions() if found is None else found:
        try:
            distribution = _read(item)
        except Exception:  # noqa: S112 - skip a damaged distribution
            continue
        if distribution is not None:
            distributions.setdefault(canonicalize_name(distribution.name), distribution)
    return distributions


def _read(item: metadata.Distribution) -> Distribution | None:
    if getattr(getattr(item, "_path", None), "name", "").startswith("~"):  # left by an interrupted pip
        return None
    fields: Any = item.metadata  # get(), because subscripting warns about missing fields
    name, version = fields.get("Name"), fields.get("Version")
    if not name or not version:
        return None
    plain = Distribution(
        name,
        version,
        tuple(fields.get_all("Requires-Dist") or ()),
        (_text(item, "INSTALLER") or "").strip().lower(),
        any(f"[{group}]" in (_text(item, "entry_points.txt") or "") for group in PLUGIN_GROUPS),
        changelog=_changelog(fields.get_all("Project-URL") or ()),
    )
    return _with_origin(item, plain)


def _changelog(lines: Iterable[str]) -> str | None:
    """Return the URL with a well-known changelog label (packaging.python.org), or None."""
    for line in lines:
        label, _, address = line.partition(",")
        known = "".join(filter(str.isalnum, label)).lower() in ("changelog", "changes", "releasenotes", "whatsnew", "history")
        if known and address.strip().startswith(("https://", "http://")):
            return address.strip()
    return None


def _with_origin(item: metadata.Distribution, plain: Distribution) -> Distribution:
    """Add the origin of a local installation, from ``direct_url.json`` (PEP 610) or a checkout on ``sys.path``.

    Ignore ``direct_url.json`` in conda packages: it may come from the build machine.
    """
    if plain.installer != "conda" and (text := _text(item, "direct_url.json")):
        import json

        try:
            document = json.loads(text)
            folder = document.get("dir_info") or {}
            return replace(
                plain, is_local=True, origin=str(document.get("url") or "") or None, is_editable=folder.get("editable") is True
            )
        except (ValueError, AttributeError, RecursionError):
            return replace(plain, is_local=True)
    folder = Path(str(item.locate_file("")))
    is_checkout = _text(item, "METADATA") is None  # egg-info: `setup.py develop`, or a folder on sys.path
    if is_checkout and folder.name.lower() not in ("site-packages", "dist-packages"):
        return replace(plain, is_local=True, origin=str(folder), is_editable=True)
    return plain


def _text(item: metadata.Distribution, name: str) -> str | None:
    try:
        return item.read_text(name)
    except (UnicodeError, OSError):  # unreadable, or not UTF-8
        return None


def channel_of(distributions: Mapping[str, Distribution], conda_meta: Path) -> str:
    """Return conda-forge if conda installed napari, or, without napari, most packages; else pypi."""
    if not conda_meta.is_dir():
        return "pypi"
    napari = distributions.get("napari")
    if napari is not None:
        return "conda-forge" if napari.installer == "conda" else "pypi"
    by_conda = sum(one.installer == "conda" for one in distributions.values())
    return "conda-forge" if 2 * by_conda > len(distributions) else "pypi"
