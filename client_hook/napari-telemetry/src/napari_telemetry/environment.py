"""Collect a report's data about the environment, and compute weekly pseudonyms."""

from __future__ import annotations

import hashlib
import hmac
import platform
import secrets
import sys
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from napari_update_hook import environment as hook
from napari_update_hook.versions import parsed

from napari_telemetry.wire import Level

SECRET_BYTES = 32
_ARCHITECTURES = {
    "amd64": "x86_64", "x86-64": "x86_64", "x64": "x86_64", "aarch64": "arm64", "armv8": "arm64", "i386": "i686", "x86": "i686",
}  # fmt: skip
_LINUX_NAMES = {
    "ubuntu": "Ubuntu", "debian": "Debian", "fedora": "Fedora", "rhel": "RHEL", "centos": "CentOS", "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux", "arch": "Arch Linux", "manjaro": "Manjaro Linux", "nixos": "NixOS", "linuxmint": "Linux Mint",
    "pop": "Pop!_OS", "opensuse-leap": "openSUSE Leap", "opensuse-tumbleweed": "openSUSE Tumbleweed",
}  # fmt: skip
_FULL_VERSION_DISTROS = {"ubuntu", "pop", "opensuse-leap"}
"""Distributions whose releases differ beyond the first number."""
_SERVER_BUILDS = {"17763": "2019", "20348": "2022", "26100": "2025"}
_ROLLING = {"arch", "manjaro", "nixos", "opensuse-tumbleweed"}


class EnvironmentInfo(Struct, frozen=True):
    """What a report says about the environment.

    ``napari_version``: None unless a final version from an index. ``plugins``: final versions from an index; empty below
    level middle.
    """

    napari_version: str | None
    python_minor: str
    platform: str
    cpu_architecture: str
    sys_name: str
    plugins: dict[str, str] = {}


def environment_info(
    environment: hook.Environment, level: Level, system: tuple[str, str, str] | None = None
) -> EnvironmentInfo:
    """Collect the data for ``level``. ``system``: platform, architecture and name; detected by default."""
    napari = environment.distributions.get("napari")
    plugins = {
        key: one.version
        for key, one in sorted(environment.distributions.items())
        if key != "napari" and one.is_plugin and not one.is_local and is_final(one.version)
    }
    return EnvironmentInfo(
        napari.version if napari and not napari.is_local and is_final(napari.version) else None,
        environment.python_minor,
        *(system or (sys.platform, architecture(platform.machine()), _sys_name())),
        plugins=plugins if level.includes(Level.MIDDLE) else {},
    )


def is_final(version: str) -> bool:
    found = parsed(version)
    return found is not None and not found.is_prerelease and found.local is None


encode_info = msgspec.json.Encoder().encode
decode_info = msgspec.json.Decoder(EnvironmentInfo).decode


def architecture(machine: str) -> str:
    """Return the common name of an architecture: Windows reports AMD64, Linux aarch64, macOS arm64."""
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def _sys_name() -> str:
    system = platform.system()
    try:
        release = platform.freedesktop_os_release() if system == "Linux" else {}
    except (OSError, UnicodeError):
        release = {}
    edition = (platform.win32_edition() or "") if system == "Windows" else ""
    return sys_name(system, release, platform.mac_ver()[0], platform.release(), platform.version(), edition)


def sys_name(
    system: str, os_release: Mapping[str, str], mac_version: str, release: str, version: str, edition: str = ""
) -> str:
    """Return a name from the public list, such as ``Ubuntu 22.04``, ``macOS 14`` or ``Windows 11``.

    Older Python versions report release 10 for Windows 11 and servers. macOS reports 10.16 to programs built for older
    releases, but the kernel version identifies the release: Darwin 23 is macOS 14, Darwin 25 is macOS 26.
    """
    if system == "Darwin":
        kernel = release.partition(".")[0]
        if mac_version.startswith("10.16") and kernel.isascii() and kernel.isdigit():
            return f"macOS {int(kernel) - 9 if int(kernel) < 25 else int(kernel) + 1}"
        return f"macOS {mac_version.partition('.')[0]}"
    if system == "Windows":
        build = version.split(".")[-1]
        if edition.startswith("Server") or release.endswith("Server"):
            return f"Windows Server {_SERVER_BUILDS.get(build, release.removesuffix('Server'))}"
        is_eleven = release == "10" and build.isascii() and build.isdigit() and int(build) >= 22000
        return f"Windows {'11' if is_eleven else release}"
    kind = os_release.get("ID", "").lower()
    name, number = _LINUX_NAMES.get(kind), os_release.get("VERSION_ID", "")
    if system != "Linux" or name is None:
        return "other"
    if kind in _ROLLING or not number:
        return name
    return f"{name} {number if kind in _FULL_VERSION_DISTROS else number.partition('.')[0]}"


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def identifier(secret: bytes, service: str, week: str) -> str:
    """Return an account's pseudonym, 32 hex digits. ``service``: the server's origin."""
    return _digest(secret, service, week)[:32]


def environment_pseudonym(secret: bytes, week: str) -> str:
    """Return an environment's pseudonym, 8 hex digits, the same for every service."""
    return _digest(secret, week)[:8]


def _digest(secret: bytes, *parts: str) -> str:
    """Return the HMAC of ``parts``. Length prefixes keep different lists of parts distinct."""
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
