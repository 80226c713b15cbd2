"""What is installed here, and what kind of computer this is.

`Environment` is plain values, so that a report and an update table can be made of any machine; `read_environment` fills it from
this one.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from napari_update_hook.environment import Distribution, channel_of, installed

__all__ = ["Distribution", "Environment", "architecture", "read_environment", "sys_name"]

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


def architecture(machine: str) -> str:
    """Return the processor family under one name: Windows says AMD64, Linux aarch64, macOS arm64."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def _sys_name() -> str:
    system = platform.system()
    try:
        release = platform.freedesktop_os_release() if system == "Linux" else {}
    except (OSError, UnicodeError):
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
