from __future__ import annotations

import pytest
from napari_update_hook.table import Choice, Release, TablePackage, choose

from update_server.index.compatibility import table_rows
from update_server.index.conda import as_specifier, broken_releases, conda_compatibility, is_package_name, napari_specifier
from update_server.index.model import CondaFile, CondaPackage

NAPARIS = ("0.4.19", "0.5.6", "0.6.1", "0.7.0", "0.7.1", "0.8.0")


def rows(files: list[CondaFile]) -> list[Release]:
    return table_rows(conda_compatibility(CondaPackage("made", tuple(files)), 15, NAPARIS, {"npe2": "npe2"}), NAPARIS)


def file(version: str, *depends: str, constrains: tuple[str, ...] = (), broken: bool = False) -> CondaFile:
    return CondaFile(version, depends, constrains, broken)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([file("1.0", "python >=3.9")], Choice("1.0")),
        ([file("1.0"), file("1.1", "python >=3.12")], Choice("1.0", "1.1", ">=3.12")),
        ([file("1.0", "python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311")], Choice("1.0")),
        ([file("1.0", "python >=3.10,<3.11.0a0 *_cpython", "python_abi 3.10.* *_cp310")], Choice(None, "1.0", "==3.10.*")),
        ([file("1.0", "python_abi 3.11 *_pypy311_pp73")], Choice(None)),
        ([file("1.0"), file("1.1", broken=True)], Choice("1.0")),
        ([file("1.1", broken=True), file("1.1", "python >=3.12")], Choice(None, "1.1", ">=3.12")),
        ([file("1.0"), file("1.1", constrains=("python <3.11",))], Choice("1.0", "1.1", "<3.11")),
        ([file("1.0", "napari >=99")], Choice("1.0")),
        ([file("0.10"), file("0.9")], Choice("0.10")),
        ([file("2021.1_1"), file("2021.1")], Choice("2021.1_1")),
        ([file("1.0", "python ???")], Choice("1.0")),
        (  # an abi3 package (conda/ceps#86)
            [file("1.1", "_python_abi3_support 1.*", "cpython >=3.12", "python"), file("1.0", "python >=3.8")],
            Choice("1.0", "1.1", ">=3.12"),
        ),
    ],
)
def test_python_311_gets_the_expected_conda_forge_release(files: list[CondaFile], expected: Choice) -> None:
    assert choose(TablePackage(rows(files)), "3.11.0", None) == expected


def test_patch_releases_are_distinguished() -> None:
    files = [file("1.0", "python >=3.9.2")]
    assert rows(files) == [Release("1.0", ">=3.9.2")]


def test_builds_with_different_requirements_get_separate_rows() -> None:
    files = [
        file("1.1", "python >=3.9", "napari 0.7.*", "npe2 >=0.8,<1.0a0"),
        file("1.0", "napari >=0.4.18,<0.5.0a0"),
        file("1.0", "napari >=0.6"),
    ]
    assert rows(files) == [
        Release("1.1", ">=3.9", "==0.7.*", {"npe2": ">=0.8,<1.0a0"}),
        Release("1.0", "", ">=0.4.18,<0.5.0a0"),
        Release("1.0", "", ">=0.6"),
    ]


def test_requirements_of_only_some_builds_are_dropped() -> None:
    assert rows([file("1.0", "npe2 >=0.8"), file("1.0")]) == [Release("1.0")]


def test_a_version_is_withdrawn_if_all_its_files_are_broken() -> None:
    files = (file("1.1", broken=True), file("1.0", broken=True), file("1.0"))
    assert broken_releases(CondaPackage("made", files)) == {"1.1": "marked as broken on conda-forge"}


@pytest.mark.parametrize(
    ("text", "specifier"),
    [
        ("napari", ""),
        ("napari *", ""),
        ("napari 0.7.*", "==0.7.*"),
        ("napari =0.7", "==0.7.*"),
        ("napari 0.7.1", "==0.7.1"),
        ("napari >=0.6,<0.8.0a0", ">=0.6,<0.8.0a0"),
        ("napari>=0.6", ">=0.6"),
        ("napari >= 0.6, <0.8 pyh*", ">=0.6,<0.8"),
        ("napari !=0.7.*", "!=0.7.*"),
        ("napari 0.6.*|0.8.*", None),
        ("napari ^0.7.[01]$", None),
    ],
)
def test_conda_match_specs_become_pep_440_specifiers(text: str, specifier: str | None) -> None:
    assert as_specifier(text) == specifier


@pytest.mark.parametrize(
    ("text", "specifier"),
    [
        ("napari 0.6.*|0.8.*", "!=0.7.1,!=0.7.0,!=0.5.6,!=0.4.19"),
        ("napari 0.5.*|0.6.*", "<0.7.0,!=0.4.19"),
        ("napari 0.1.*|0.2.*", "!=0.8.0,!=0.7.1,!=0.7.0,!=0.6.1,!=0.5.6,!=0.4.19"),
        ("napari ???", ""),
    ],
)
def test_other_napari_match_specs_exclude_known_versions(text: str, specifier: str) -> None:
    assert napari_specifier(text, NAPARIS) == specifier


@pytest.mark.parametrize("name", ["micro sam", "conda-forge::micro", "https://x", "a&b", "", "A", "../x", "x\n"])
def test_invalid_conda_package_names_are_rejected(name: str) -> None:
    assert not is_package_name(name)
    assert is_package_name("micro_sam")
