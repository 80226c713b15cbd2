"""What is installed here, as plain values, so that a test can be any machine; `read_environment` fills them from this one."""

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
"""Entry points by which a distribution is a plugin of napari."""


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    ``requires``: its Requires-Dist lines. ``installer``: pip, uv, conda or what else the INSTALLER file says. ``is_local``:
    installed from a folder, a repository or a file instead of an index; ``origin``: which one; ``is_editable``: changes of
    the folder take effect at once. ``changelog``: the address that its metadata names, if any.
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
        """Whether a release of the index may take its place: not that of a folder, nor of a local build (``1.2+abc``)."""
        version = parsed(self.version)
        return not self.is_local and version is not None and version.local is None


@dataclass(frozen=True)
class Environment:
    """A Python environment. ``python``: such as ``3.11.4``; ``distributions`` by normalized name."""

    python: str
    channel: str = "pypi"
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    is_free_threaded: bool = False

    @property
    def python_minor(self) -> str:
        """``3.11``"""
        return ".".join(self.python.split(".")[:2])

    @property
    def napari(self) -> str | None:
        """The napari for which releases must fit: that of a development version is its base, None where none is installed."""
        installed = self.distributions.get("napari")
        version = parsed(installed.version) if installed is not None else None
        return version.base_version if version is not None else None

    @property
    def development_napari(self) -> str | None:
        """The version of a napari that is not a published final one, else None."""
        installed = self.distributions.get("napari")
        version = parsed(installed.version) if installed is not None else None
        is_final = installed is None or (version is not None and not version.is_prerelease and version.local is None)
        return None if installed is None or is_final else installed.version

    def channel_of(self, name: str) -> str:
        """Return the channel from which a package is updated: that of its own installer."""
        installer = self.distributions[name].installer
        return self.channel if not installer else "conda-forge" if installer == "conda" else "pypi"


def read_environment(prefix: Path | None = None) -> Environment:
    """Return this environment."""
    distributions = installed()
    return Environment(
        python="{}.{}.{}".format(*sys.version_info[:3]),
        channel=channel_of(distributions, (prefix or Path(sys.prefix)) / "conda-meta"),
        distributions=distributions,
        is_free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    )


def installed(found: Iterable[metadata.Distribution] | None = None) -> dict[str, Distribution]:
    """Return the installed distributions by normalized name; of duplicates, the one that would be imported."""
    distributions: dict[str, Distribution] = {}
    for item in metadata.distributions() if found is None else found:
        try:
            distribution = _read(item)
        except Exception:  # noqa: S112 - one damaged distribution must not end the check
            continue
        if distribution is not None:
            distributions.setdefault(canonicalize_name(distribution.name), distribution)
    return distributions


def _read(item: metadata.Distribution) -> Distribution | None:
    if getattr(getattr(item, "_path", None), "name", "").startswith("~"):  # what pip left when it was interrupted
        return None
    fields: Any = item.metadata  # subscription warns about missing fields
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
    """Return the address of a changelog, by the labels that PyPI knows (packaging.python.org, "Well-known Project URLs")."""
    for line in lines:
        label, _, address = line.partition(",")
        known = "".join(filter(str.isalnum, label)).lower() in ("changelog", "changes", "releasenotes", "whatsnew", "history")
        if known and address.strip().startswith(("https://", "http://")):
            return address.strip()
    return None


def _with_origin(item: metadata.Distribution, plain: Distribution) -> Distribution:
    """Add where it came from, if not from an index: PEP 610 says so, or it is a checkout on the path.

    Packages of conda-forge may carry the ``direct_url.json`` of the machine that built them; conda's own record counts.
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
    is_checkout = _text(item, "METADATA") is None  # it has an egg-info folder: `setup.py develop`, or a folder on the path
    if is_checkout and folder.name.lower() not in ("site-packages", "dist-packages"):
        return replace(plain, is_local=True, origin=str(folder), is_editable=True)
    return plain


def _text(item: metadata.Distribution, name: str) -> str | None:
    try:
        return item.read_text(name)
    except (UnicodeError, OSError):  # written by another program in another encoding
        return None


def channel_of(distributions: Mapping[str, Distribution], conda_meta: Path) -> str:
    """Return where the packages come from: conda-forge where napari, or else most, was installed by conda."""
    if not conda_meta.is_dir():
        return "pypi"
    napari = distributions.get("napari")
    if napari is not None:
        return "conda-forge" if napari.installer == "conda" else "pypi"
    by_conda = sum(one.installer == "conda" for one in distributions.values())
    return "conda-forge" if 2 * by_conda > len(distributions) else "pypi"
