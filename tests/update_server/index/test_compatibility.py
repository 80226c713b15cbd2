"""Fixed cases, and random indexes compared with a simple search that uses `packaging`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_update_hook.table import Choice, Release, TablePackage, admits, choose, pick
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.support.facts import package_of
from tests.support.sample_upstream import SampleFile, SampleProject
from update_server.index.compatibility import PLATFORMS, Compatibility, pypi_compatibility, table_rows
from update_server.index.pythons import PythonDomain, PythonVersion, supported_pairs

SDIST = None
LAST_MINOR = 16
NAPARIS = ("0.4.19", "0.5.6", "0.6.1", "0.7.1", "0.8.0")
NAMES = frozenset({"made", "napari", "npe2", "other"})


def compatibility_of(
    releases: dict[str, Sequence[SampleFile]], requires: dict[str, Sequence[str]] | None = None
) -> Compatibility:
    package = package_of(SampleProject("made", releases))
    known = tuple(
        msgspec.structs.replace(release, requires=tuple((requires or {}).get(release.version, ())))
        for release in package.releases
    )
    return pypi_compatibility(msgspec.structs.replace(package, releases=known), LAST_MINOR, NAMES)


def rows(releases: dict[str, Sequence[SampleFile]], requires: dict[str, Sequence[str]] | None = None) -> list[Release]:
    return table_rows(compatibility_of(releases, requires), NAPARIS)


CASES: list[tuple[str, dict[str, Sequence[SampleFile]], Choice]] = [
    ("the newest is compatible", {"1.0": [SampleFile()], "1.1": [SampleFile(">=3.9")]}, Choice("1.1")),
    ("the newest is incompatible", {"1.0": [SampleFile()], "1.1": [SampleFile(">=3.12")]}, Choice("1.0", "1.1", ">=3.12")),
    ("no release is compatible", {"0.1.3": [SampleFile(">=3.12")]}, Choice(None, "0.1.3", ">=3.12")),
    ("a yanked release is never offered", {"1.0": [SampleFile()], "1.1": [SampleFile(yanked="broken wheel")]}, Choice("1.0")),
    ("one file of two yanked", {"1.1": [SampleFile(yanked="bad wheel"), SampleFile(tag=SDIST)]}, Choice("1.1")),
    ("all yanked", {"1.1": [SampleFile(yanked="no")]}, Choice(None)),
    ("a final release precedes a newer pre-release", {"1.0": [SampleFile()], "2.0rc1": [SampleFile()]}, Choice("1.0")),
    ("only pre-releases", {"0.1.dev1": [SampleFile()], "0.2a1": [SampleFile()]}, Choice("0.2a1")),
    (
        "a pre-release if no final release is compatible",
        {"1.0": [SampleFile(">=3.12")], "0.9rc1": [SampleFile()]},
        Choice("0.9rc1", "1.0", ">=3.12"),
    ),
    (
        "a pre-release newer than an incompatible final release",
        {"1.0": [SampleFile(">=3.12")], "2.0rc1": [SampleFile()]},
        Choice("2.0rc1"),
    ),
    (
        "only wheels for another interpreter",
        {"1.0": [SampleFile()], "2.0": [SampleFile(">=3.8", "cp39-cp39-win_amd64")]},
        Choice("1.0", "2.0", "==3.9.*"),
    ),
    (
        "wheels for others, and an sdist",
        {"2.0": [SampleFile(">=3.8", "cp39-cp39-win_amd64"), SampleFile(">=3.8", SDIST)]},
        Choice("2.0"),
    ),
    ("the stable ABI", {"2.0": [SampleFile(">=3.8", "cp38-abi3-win_amd64")]}, Choice("2.0")),
    (
        "files with different requirements",
        {"1.0": [SampleFile(">=3.12"), SampleFile("<3.9", SDIST)]},
        Choice(None, "1.0", "==3.8.* or >=3.12"),
    ),
    ("epochs", {"2.0": [SampleFile()], "1!1.0": [SampleFile()]}, Choice("1!1.0")),
    ("local versions", {"1.0": [SampleFile()], "1.0+patched": [SampleFile()]}, Choice("1.0+patched")),
    ("order is not alphabetical", {"0.9": [SampleFile()], "0.10": [SampleFile()]}, Choice("0.10")),
    ("a release without files", {"1.0": [SampleFile()], "1.1": []}, Choice("1.0")),
    ("no releases", {}, Choice(None)),
    ("an empty specifier", {"1.0": [SampleFile("")]}, Choice("1.0")),
    ("an invalid specifier is ignored, as in pip", {"1.0": [SampleFile("3.6 or later")]}, Choice("1.0")),
]


@pytest.mark.parametrize(("releases", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_python_310_gets_the_expected_release(releases: dict[str, Sequence[SampleFile]], expected: Choice) -> None:
    assert choose(TablePackage(rows(releases)), "3.10.0", None) == expected


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ({"2.0": ["napari>=0.7,<0.9"]}, [Release("2.0", requires_napari="<0.9,>=0.7"), Release("1.0")]),
        ({"2.0": ["napari", "numpy>=2"]}, [Release("2.0")]),
        ({"2.0": ["napari>=99"]}, [Release("2.0", requires_napari=">=99"), Release("1.0")]),
        ({"2.0": ["napari nonsense"]}, [Release("2.0")]),
        ({"2.0": ["npe2>=0.8.1", "other<2; sys_platform == 'win32'"]}, [Release("2.0", requires={"npe2": ">=0.8.1"})]),
        ({"2.0": ["napari<0.7; sys_platform == 'win32'"]}, [Release("2.0")]),
        (
            {"2.0": ["napari<0.6; python_version < '3.11'", "napari>=0.7; python_version >= '3.11'"]},
            [
                Release("2.0", "<3.11", "<0.6"),
                Release("2.0", ">=3.11", ">=0.7"),
                Release("1.0"),
            ],
        ),
        (
            {"2.0": ["napari<0.6; sys_platform == 'win32'", "napari>=0.8; sys_platform != 'win32'"]},
            [Release("2.0", requires_napari=">=0.8"), Release("2.0", requires_napari="<0.6"), Release("1.0")],
        ),
        ({"2.0": ["napari<0.6; platform_release > 'x'"]}, [Release("2.0")]),
    ],
)
def test_requirements_become_the_expected_rows(requires: dict[str, Sequence[str]], expected: list[Release]) -> None:
    """A release is excluded only if it is excluded on every platform; an unknown requirement excludes nothing."""
    assert rows({"1.0": [SampleFile()], "2.0": [SampleFile()]}, requires) == expected


def test_every_final_release_of_napari_is_in_the_table() -> None:
    releases: dict[str, Sequence[SampleFile]] = {"0.5.0": [SampleFile()], "0.6.0rc1": [SampleFile()], "0.6.0": [SampleFile()]}
    found = table_rows(compatibility_of(releases), NAPARIS, all_finals=True)
    assert [row.version for row in found] == ["0.6.0", "0.5.0"]


VERSIONS = st.sampled_from(["0.1", "0.9", "0.10", "1.0rc1", "1.0", "1.0.post1", "1.1.dev1", "1!0.1", "2.0a1"])
FILES = st.builds(
    SampleFile,
    st.sampled_from(
        [None, ">=3.8", ">=3.9.7", "<3.11", "!=3.10.1", ">=3.12", "nonsense", "==3.10.*", "!=3.9.*,!=3.11.4", ">3.9"]
    ),
    st.sampled_from([None, "py3-none-any", "cp310-cp310-win_amd64", "cp38-abi3-win_amd64", "pp310-pypy310_pp73-win_amd64"]),
    st.sampled_from([False, False, False, True, "a reason"]),
)
REQUIREMENTS = st.sampled_from(
    [
        "napari>=0.5",
        "napari<0.8",
        "napari!=0.6.1",
        "napari[all]~=0.7.0",
        "napari>=99",
        "napari<0.7; python_version < '3.10'",
        "napari>=0.6; python_full_version >= '3.10.2'",
        "napari<0.6; sys_platform == 'darwin'",
        "napari>=0.8; extra == 'new'",
        "npe2>=0.8",
    ]
)
INDEXES = st.dictionaries(VERSIONS, st.tuples(st.lists(FILES, max_size=3), st.lists(REQUIREMENTS, max_size=2)), max_size=6)
DOMAIN = [PythonVersion(minor, patch) for minor in range(8, LAST_MINOR + 1) for patch in (0, 1, 2, 3, 4, 5, 7, 8, 99)]


def installs(file: SampleFile, python: PythonVersion) -> bool:
    if file.yanked is not False or (file.tag and "-".join(file.tag.split("-")[:2]) not in supported_pairs(python.minor)):
        return False
    try:
        return SpecifierSet(file.requires_python or "").contains(python.full, prereleases=True)
    except ValueError:
        return True


def allows(requires: list[str], python: PythonVersion, napari: str | None) -> bool:
    def applies(requirement: Requirement, platform: dict[str, str]) -> bool:
        of_python = {"python_version": python.feature_release, "python_full_version": python.full, "extra": ""}
        return requirement.marker is None or requirement.marker.evaluate(of_python | platform)

    parsed = [one for one in map(Requirement, requires) if one.name == "napari"]
    return napari is None or any(
        all(one.specifier.contains(napari, prereleases=True) for one in parsed if applies(one, platform))
        for platform in PLATFORMS
    )


@given(INDEXES)
def test_the_table_gives_the_same_choice_as_all_releases(
    index: dict[str, tuple[list[SampleFile], list[str]]],
) -> None:
    table = rows({version: files for version, (files, _) in index.items()}, {version: one[1] for version, one in index.items()})
    answers: set[int] = set()
    for python in DOMAIN:
        on_python = sorted(
            (Version(version) for version, (files, _) in index.items() if any(installs(file, python) for file in files)),
            reverse=True,
        )
        candidates = [version for version in on_python if not version.is_prerelease] or on_python
        for napari in (None, *NAPARIS):
            fitting = [one for one in candidates if allows(index[str(one)][1], python, napari)]
            picked = pick(table, python.full, napari)
            assert (picked.version if picked else None) == (str(fitting[0]) if fitting else None), (python, napari)
            answers |= {number for number, row in enumerate(table) if row is picked}
    assert answers == set(range(len(table))), "every row is chosen in some environment"


@given(st.sets(st.integers(0, 20)))
def test_a_set_of_python_versions_becomes_specifiers(chosen: set[int]) -> None:
    domain = PythonDomain([">=3.9.7", "!=3.10.1", "<=3.11.2", "3.12.50"], 14)
    pythons = sum(1 << number for number in chosen if number < len(domain.points))
    parts = domain.specifiers(pythons)
    assert sum(part for part, _ in parts) == pythons
    for number, python in enumerate(domain.points):
        assert any(admits(text, python.full) for _, text in parts) == bool(pythons >> number & 1), python
    for part, text in parts:
        assert domain.where(lambda python, text=text: admits(text, python.full)) == part  # type: ignore[misc]
