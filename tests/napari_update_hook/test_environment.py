"""Installed packages, read from folders as installers leave them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from napari_update_hook.environment import Distribution, channel_of, installed


def dist_info(folder: Path, name: str, version: str, more: str = "", **files: str | bytes) -> metadata.Distribution:
    """Write a ``.dist-info`` folder. ``files``: contents by name (``__`` for a dot)."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
    for file, content in files.items():
        (info / file.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
    return metadata.Distribution.at(info)


def test_requirements_installer_and_kind_are_read(tmp_path: Path) -> None:
    more = "Requires-Dist: napari<0.7\nRequires-Dist: numpy\n"
    points = "[napari.manifest]\naffinder = affinder:napari.yaml\n"
    found = dist_info(tmp_path / "site-packages", "Affinder", "0.5.0", more, INSTALLER="pip\n", entry_points__txt=points)
    assert installed([found]) == {"affinder": Distribution("Affinder", "0.5.0", ("napari<0.7", "numpy"), "pip", is_plugin=True)}


def test_packages_from_a_folder_or_repository_are_local(tmp_path: Path) -> None:
    found = installed(
        [
            dist_info(
                tmp_path, "my_plugin", "1.0", direct_url__json='{"url": "file:///home/me/x", "dir_info": {"editable": true}}'
            ),
            dist_info(tmp_path, "odd", "1.0", direct_url__json="{"),
        ]
    )
    assert found["my-plugin"].is_editable
    assert found["my-plugin"].origin == "file:///home/me/x"
    assert found["odd"].is_local


def test_a_stale_direct_url_of_a_conda_package_is_ignored(tmp_path: Path) -> None:
    url = '{"dir_info": {}, "url": "file:///home/conda/feedstock_root/build_artifacts/x/work"}'
    found = installed([dist_info(tmp_path, "affinder", "0.5.0", INSTALLER="conda", direct_url__json=url)])
    assert not found["affinder"].is_local


def test_pip_install_target_is_an_ordinary_installation(tmp_path: Path) -> None:
    found = installed([dist_info(tmp_path / "my-modules", "affinder", "0.5.0", INSTALLER="pip", RECORD="")])
    assert not found["affinder"].is_local


def test_a_checkout_on_the_path_is_local(tmp_path: Path) -> None:
    info = tmp_path / "checkout" / "old.egg-info"
    info.mkdir(parents=True)
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1.0\n")
    assert installed([metadata.Distribution.at(info)])["old"].is_editable


def test_unreadable_metadata_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "broken-1.dist-info").mkdir()
    found = installed(
        [
            metadata.Distribution.at(tmp_path / "broken-1.dist-info"),
            dist_info(tmp_path, "utf16", "1.0", INSTALLER="pip".encode("utf-16")),
            dist_info(tmp_path, "cp1252", "1.0", direct_url__json='{"url": "file:///home/Jörg"}'.encode("cp1252")),
            dist_info(tmp_path, "~ffinder", "0.4.0"),
        ]
    )
    assert {name: one.installer for name, one in found.items()} == {"utf16": "", "cp1252": ""}


@pytest.mark.parametrize(
    ("is_conda", "installers", "channel"),
    [
        (False, {"napari": "pip"}, "pypi"),
        (True, {"napari": "conda"}, "conda-forge"),
        (True, {"napari": "pip", "numpy": "conda"}, "pypi"),
        (True, {"numpy": "conda", "affinder": "conda", "x": "pip"}, "conda-forge"),
    ],
)
def test_the_channel_is_the_one_napari_was_installed_from(
    tmp_path: Path, is_conda: bool, installers: dict[str, str], channel: str
) -> None:
    if is_conda:
        (tmp_path / "conda-meta").mkdir()
    distributions = {name: Distribution(name, "1", (), installer) for name, installer in installers.items()}
    assert channel_of(distributions, tmp_path / "conda-meta") == channel
