from __future__ import annotations

import pytest
from napari_telemetry.environment import architecture, sys_name


@pytest.mark.parametrize(
    ("system", "os_release", "mac", "release", "version", "name"),
    [
        ("Linux", {"ID": "ubuntu", "VERSION_ID": "22.04"}, "", "6.1", "", "Ubuntu 22.04"),
        ("Linux", {"ID": "debian", "VERSION_ID": "12"}, "", "6.1", "", "Debian 12"),
        ("Linux", {"ID": "rhel", "VERSION_ID": "8.10"}, "", "4.18", "", "RHEL 8"),
        ("Linux", {"ID": "arch"}, "", "6.9", "", "Arch Linux"),
        ("Linux", {"ID": "my-own-build", "VERSION_ID": "7"}, "", "6.9", "", "other"),
        ("Linux", {}, "", "6.9", "", "other"),
        ("Darwin", {}, "14.5", "23.5.0", "", "macOS 14"),
        ("Windows", {}, "", "10", "10.0.19045", "Windows 10"),
        ("Windows", {}, "", "10", "10.0.22631", "Windows 11"),
        ("Windows", {}, "", "11", "10.0.22631", "Windows 11"),
        ("Windows", {}, "", "2022Server", "10.0.20348", "Windows Server 2022"),
        ("Windows", {}, "", "2019Server", "10.0.17763", "Windows Server 2019"),
        ("Darwin", {}, "10.16", "23.5.0", "", "macOS 14"),
        ("Darwin", {}, "10.16", "25.0.0", "", "macOS 26"),
        ("FreeBSD", {}, "", "14", "", "other"),
    ],
)
def test_systems_are_named_as_on_the_public_list(
    system: str, os_release: dict[str, str], mac: str, release: str, version: str, name: str
) -> None:
    assert sys_name(system, os_release, mac, release, version) == name


@pytest.mark.parametrize(
    ("machine", "family"), [("AMD64", "x86_64"), ("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_a_processor_has_one_name_on_every_system(machine: str, family: str) -> None:
    assert architecture(machine) == family


def test_windows_server_is_recognized_on_older_python_versions() -> None:
    assert sys_name("Windows", {}, "", "10", "10.0.20348", "ServerStandard") == "Windows Server 2022"
    assert sys_name("Windows", {}, "", "10", "10.0.26100", "ServerDatacenter") == "Windows Server 2025"


def test_system_names_are_on_the_public_list() -> None:
    vocabulary = pytest.importorskip("update_server.intake.vocabulary", reason="needs the service")
    for name in ("Windows Server 2022", "macOS 14", "macOS 26", "Debian 12", "Ubuntu 22.04"):
        assert name in vocabulary.SYS_NAMES
