"""What fits, in a table of made-up projects, and against a plain search with `packaging` alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_update_hook.wire import PackageUpdate
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.support.facts import package_of
from tests.support.made_upstream import MadeFile, MadeProject
from update_server.index.compatibility import pypi_classes, pypi_updates
from update_server.index.pythons import PythonVersion, supported_pairs

SDIST = None


def answer(releases: dict[str, Sequence[MadeFile]], python: str = "3.10") -> PackageUpdate:
    package = package_of(MadeProject("made", releases))
    classes = pypi_classes([package], range(6, 16))
    cls = classes.of(PythonVersion.parse(python))
    assert cls is not None
    return pypi_updates(package, classes)[cls.bit]


CASES: list[tuple[str, dict[str, Sequence[MadeFile]], PackageUpdate]] = [
    ("the newest fits", {"1.0": [MadeFile()], "1.1": [MadeFile(">=3.9")]}, PackageUpdate("1.1")),
    ("the newest needs more", {"1.0": [MadeFile()], "1.1": [MadeFile(">=3.12")]}, PackageUpdate("1.0", "1.1", ">=3.12")),
    ("nothing fits", {"0.1.3": [MadeFile(">=3.12")]}, PackageUpdate(None, "0.1.3", ">=3.12")),
    (
        "a yanked release is never offered",
        {"1.0": [MadeFile()], "1.1": [MadeFile(yanked="broken wheel")]},
        PackageUpdate("1.0", yanked={"1.1": "broken wheel"}),
    ),
    (
        "yanked without a reason",
        {"1.0": [MadeFile()], "1.1": [MadeFile(yanked=True)]},
        PackageUpdate("1.0", yanked={"1.1": ""}),
    ),
    ("one file of two yanked", {"1.1": [MadeFile(yanked="bad wheel"), MadeFile(tag=SDIST)]}, PackageUpdate("1.1")),
    ("all yanked", {"1.1": [MadeFile(yanked="no")]}, PackageUpdate(None, yanked={"1.1": "no"})),
    ("a final release goes before a newer pre-release", {"1.0": [MadeFile()], "2.0rc1": [MadeFile()]}, PackageUpdate("1.0")),
    ("only pre-releases", {"0.1.dev1": [MadeFile()], "0.2a1": [MadeFile()]}, PackageUpdate("0.2a1")),
    (
        "a pre-release where no final release fits",
        {"1.0": [MadeFile(">=3.12")], "0.9rc1": [MadeFile()]},
        PackageUpdate("0.9rc1", "1.0", ">=3.12"),
    ),
    (
        "a pre-release newer than a final that does not fit",
        {"1.0": [MadeFile(">=3.12")], "2.0rc1": [MadeFile()]},
        PackageUpdate("2.0rc1"),
    ),
    (
        "wheels for another interpreter alone",
        {"1.0": [MadeFile()], "2.0": [MadeFile(">=3.8", "cp39-cp39-win_amd64")]},
        PackageUpdate("1.0", "2.0", "==3.9.*"),
    ),
    (
        "wheels for others, and an sdist",
        {"2.0": [MadeFile(">=3.8", "cp39-cp39-win_amd64"), MadeFile(">=3.8", SDIST)]},
        PackageUpdate("2.0"),
    ),
    ("the stable ABI", {"2.0": [MadeFile(">=3.8", "cp38-abi3-win_amd64")]}, PackageUpdate("2.0")),
    (
        "files that ask for different things",
        {"1.0": [MadeFile(">=3.12"), MadeFile("<3.8", SDIST)]},
        PackageUpdate(None, "1.0", "<3.8 or >=3.12"),
    ),
    ("epochs", {"2.0": [MadeFile()], "1!1.0": [MadeFile()]}, PackageUpdate("1!1.0")),
    ("local versions", {"1.0": [MadeFile()], "1.0+patched": [MadeFile()]}, PackageUpdate("1.0+patched")),
    ("order is not alphabetical", {"0.9": [MadeFile()], "0.10": [MadeFile()]}, PackageUpdate("0.10")),
    ("a release without files", {"1.0": [MadeFile()], "1.1": []}, PackageUpdate("1.0")),
    ("no release at all", {}, PackageUpdate(None)),
    ("an empty specifier", {"1.0": [MadeFile("")]}, PackageUpdate("1.0")),
    ("what is no specifier is ignored, as pip does", {"1.0": [MadeFile("3.6 or later")]}, PackageUpdate("1.0")),
]


@pytest.mark.parametrize(("releases", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_python_310_gets(releases: dict[str, Sequence[MadeFile]], expected: PackageUpdate) -> None:
    assert answer(releases) == expected


VERSIONS = st.sampled_from(["0.1", "0.9", "0.10", "1.0rc1", "1.0", "1.0.post1", "1.1.dev1", "1!0.1", "2.0a1"])
FILES = st.builds(
    MadeFile,
    st.sampled_from([None, ">=3.8", ">=3.9.7", "<3.11", "!=3.10.1", ">=3.12", "nonsense", "==3.10.*"]),
    st.sampled_from([None, "py3-none-any", "cp310-cp310-win_amd64", "cp38-abi3-win_amd64", "pp310-pypy310_pp73-win_amd64"]),
    st.sampled_from([False, False, False, True, "a reason"]),
)


@given(st.dictionaries(VERSIONS, st.lists(FILES, max_size=3), max_size=6), st.tuples(st.integers(8, 14), st.integers(0, 12)))
def test_the_answer_is_that_of_a_plain_search(releases: dict[str, list[MadeFile]], python: tuple[int, int]) -> None:
    minor, patch = python
    told = answer(dict(releases), f"3.{minor}.{patch}")

    def installs(file: MadeFile) -> bool:
        if file.yanked is not False:
            return False
        if file.tag and "-".join(file.tag.split("-")[:2]) not in supported_pairs(minor):
            return False
        try:
            return SpecifierSet(file.requires_python or "").contains(f"3.{minor}.{patch}", prereleases=True)
        except ValueError:
            return True

    fitting = [Version(version) for version, files in releases.items() if any(installs(file) for file in files)]
    final = [version for version in fitting if not version.is_prerelease]
    assert told.latest == (str(max(final or fitting)) if fitting else None)
    if told.newest is not None:
        assert told.latest is None or Version(told.newest) > Version(told.latest)
        assert told.newest_requires_python is not None
