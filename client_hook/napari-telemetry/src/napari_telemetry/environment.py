"""What is installed here, and what kind of computer this is.

`Environment` is plain values, so that a report and an update table can be made of any machine; `read_environment` fills it from
this one.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from packaging.utils import canonicalize_name

_ARCHITECTURES = {
    "amd64": "x86_64", "x86-64": "x86_64", "x64": "x86_64", "aarch64": "arm64", "armv8": "arm64", "i386": "i686", "x86": "i686",
}  # fmt: skip

_LINUX_NAMES = {
    "ubuntu": "Ubuntu", "debian": "Debian", "fedora": "Fedora", "rhel": "RHEL", "centos": "CentOS", "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux", "arch": "Arch Linux", "manjaro": "Manjaro Linux", "nixos": "NixOS", "linuxmint": "Linux Mint",
    "pop": "Pop!_OS", "opensuse-leap": "openSUSE Leap", "opensuse-tumbleweed": "openSUSE Tumbleweed",
}  # fmt: skip
_WHOLE_VERSION = {"ubuntu", "pop", "opensuse-leap"}
"""Distributions whose releases are told apart by more than the first number."""
_ROLLING = {"arch", "manjaro", "nixos", "opensuse-tumbleweed"}


class Distribution(Struct, frozen=True):
    """An installed distribution.

    ``is_local``: installed from a folder, a repository or a file instead of an index; ``origin``: which one, where that is
    known; ``is_editable``: changes of the folder take effect at once. ``installer``: pip, uv, conda or what else says so.
    """

    name: str
    version: str
    is_local: bool = False
    installer: str = ""
    origin: str | None = None
    is_editable: bool = False


class Environment(Struct, frozen=True):
    """A Python environment. ``python``: such as ``3.11.4``; ``distributions`` by normalized name."""

    python: str
    platform: str
    cpu_architecture: str
    sys_name: str
    channel: str
    distributions: Mapping[str, Distribution]

    @property
    def python_minor(self) -> str:
        """``3.11``"""
        return ".".join(self.python.split(".")[:2])


def read_environment(prefix: Path | None = None) -> Environment:
    """Return this environment."""
    distributions = installed()
    return Environment(
        python=platform.python_version().rstrip("+"),
        platform=sys.platform,
        cpu_architecture=architecture(platform.machine()),
        sys_name=_sys_name(),
        channel=channel_of(distributions, (prefix or Path(sys.prefix)) / "conda-meta"),
        distributions=distributions,
    )


def installed(found: Iterable[metadata.Distribution] | None = None) -> dict[str, Distribution]:
    """Return the installed distributions by normalized name; of one that is there twice, the one that would be imported."""
    distributions: dict[str, Distribution] = {}
    for item in metadata.distributions() if found is None else found:
        try:
            fields: Any = item.metadata  # subscription warns about what is missing
            name, version = fields.get("Name"), fields.get("Version")
        except Exception:  # noqa: S112 - a damaged distribution of somebody else's must not end the check
            continue
        if name and version:
            installer = (item.read_text("INSTALLER") or "").strip().lower()
            distributions.setdefault(canonicalize_name(name), _origin(item, Distribution(name, version, False, installer)))
    return distributions


class _Direct(Struct):
    """PEP 610: where a distribution came from, if not from an index."""

    url: str = ""
    dir_info: dict[str, object] = {}


def _origin(item: metadata.Distribution, distribution: Distribution) -> Distribution:
    """Say whether a distribution came from somewhere else than an index: PEP 610 says so, or it lies outside of
    site-packages.
    """
    text = item.read_text("direct_url.json")
    if text:
        try:
            direct = msgspec.json.decode(text, type=_Direct)
        except msgspec.MsgspecError:
            direct = _Direct()
        is_editable = direct.dir_info.get("editable") is True
        return msgspec.structs.replace(distribution, is_local=True, origin=direct.url or None, is_editable=is_editable)
    folder = Path(str(item.locate_file("")))
    if folder.name.lower() not in ("site-packages", "dist-packages"):  # `setup.py develop`, or a checkout on the path
        return msgspec.structs.replace(distribution, is_local=True, origin=str(folder), is_editable=True)
    return distribution


def channel_of(distributions: Mapping[str, Distribution], conda_meta: Path) -> str:
    """Return where the packages come from: conda-forge where napari, or else most, was installed by conda."""
    if not conda_meta.is_dir():
        return "pypi"
    napari = distributions.get("napari")
    if napari is not None:
        return "conda-forge" if napari.installer == "conda" else "pypi"
    by_conda = sum(distribution.installer == "conda" for distribution in distributions.values())
    return "conda-forge" if 2 * by_conda > len(distributions) else "pypi"


def architecture(machine: str) -> str:
    """Return the processor family under one name: Windows says AMD64, Linux aarch64, macOS arm64."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def _sys_name() -> str:
    system = platform.system()
    try:
        release = platform.freedesktop_os_release() if system == "Linux" else {}
    except OSError:
        release = {}
    return sys_name(system, release, platform.mac_ver()[0], platform.release(), platform.version())


def sys_name(system: str, os_release: Mapping[str, str], mac_version: str, release: str, version: str) -> str:
    """Return the system's name and release, as the public list spells it: ``Ubuntu 22.04``, ``macOS 14``, ``Windows 11``.

    ``os_release``: the fields of the file of that name. ``release`` and ``version``: those of ``platform``; Windows 11 still
    calls itself release 10 there on older Pythons, and differs by its build number.
    """
    if system == "Darwin":
        return f"macOS {mac_version.split('.')[0]}"
    if system == "Windows":
        build = version.split(".")[-1]
        is_eleven = release == "10" and build.isascii() and build.isdigit() and int(build) >= 22000
        return f"Windows {'11' if is_eleven else release}"
    if system != "Linux":
        return "other"
    kind = os_release.get("ID", "").lower()
    name, number = _LINUX_NAMES.get(kind), os_release.get("VERSION_ID", "")
    if name is None:
        return "other"
    if kind in _ROLLING or not number:
        return name
    return f"{name} {number if kind in _WHOLE_VERSION else number.split('.')[0]}"
