from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from napari_telemetry.environment import Distribution, architecture, channel_of, installed, sys_name


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
        ("FreeBSD", {}, "", "14", "", "other"),
    ],
)
def test_the_system_is_named_as_the_public_list_spells_it(
    system: str, os_release: dict[str, str], mac: str, release: str, version: str, name: str
) -> None:
    assert sys_name(system, os_release, mac, release, version) == name


@pytest.mark.parametrize(
    ("machine", "family"), [("AMD64", "x86_64"), ("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_a_processor_has_one_name_on_every_system(machine: str, family: str) -> None:
    assert architecture(machine) == family


def fake_distribution(folder: Path, name: str, version: str, **texts: str) -> metadata.Distribution:
    info = folder / "site-packages" / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file, text in texts.items():
        (info / file.replace("__", ".")).write_text(text)
    return metadata.Distribution.at(info)


def test_what_came_from_a_folder_or_repository_is_told_apart(tmp_path: Path) -> None:
    found = [
        fake_distribution(tmp_path, "Affinder", "0.5.0", INSTALLER="pip\n"),
        fake_distribution(
            tmp_path, "my_plugin", "1.0", direct_url__json='{"url": "file:///home/me/my_plugin", "dir_info": {}}'
        ),
        fake_distribution(tmp_path, "odd", "1.0", direct_url__json="{"),
    ]
    distributions = installed(found)
    assert distributions["affinder"] == Distribution("Affinder", "0.5.0", False, "pip")
    assert distributions["my-plugin"].is_local
    assert distributions["odd"].is_local
    assert distributions["my-plugin"].origin == "file:///home/me/my_plugin"
    assert not distributions["my-plugin"].is_editable


def test_editable_installs_of_every_age_are_local(tmp_path: Path) -> None:
    (tmp_path / "checkout" / "old.egg-info").mkdir(parents=True)
    (tmp_path / "checkout" / "old.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1.0\n")
    found = [
        fake_distribution(
            tmp_path, "new", "1.0", direct_url__json='{"url": "file:///home/me/new", "dir_info": {"editable": true}}'
        ),
        metadata.Distribution.at(tmp_path / "checkout" / "old.egg-info"),
    ]
    distributions = installed(found)
    assert [distributions[name].is_local for name in ("new", "old")] == [True, True]
    assert [distributions[name].is_editable for name in ("new", "old")] == [True, True]


def test_a_damaged_distribution_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken-1.dist-info").mkdir()
    broken = metadata.Distribution.at(tmp_path / "broken-1.dist-info")
    assert installed([broken, fake_distribution(tmp_path, "affinder", "0.5.0")]).keys() == {"affinder"}


@pytest.mark.parametrize(
    ("is_conda", "installers", "channel"),
    [
        (False, {"napari": "pip"}, "pypi"),
        (True, {"napari": "conda"}, "conda-forge"),
        (True, {"napari": "pip", "numpy": "conda"}, "pypi"),
        (True, {"numpy": "conda", "affinder": "conda", "x": "pip"}, "conda-forge"),
    ],
)
def test_the_channel_is_where_napari_came_from(
    tmp_path: Path, is_conda: bool, installers: dict[str, str], channel: str
) -> None:
    if is_conda:
        (tmp_path / "conda-meta").mkdir()
    distributions = {name: Distribution(name, "1", False, installer) for name, installer in installers.items()}
    assert channel_of(distributions, tmp_path / "conda-meta") == channel
