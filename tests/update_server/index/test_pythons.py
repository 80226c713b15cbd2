from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag

from update_server.index.pythons import PythonClasses, PythonVersion, UnknownPythonError, requires_python_rules, supported_pairs


@pytest.mark.parametrize(
    ("text", "minor", "patch"),
    [("3.11", 11, 0), ("3.11.4", 11, 4), ("3.14.0rc1", 14, 0), ("3.13.0a1", 13, 0), ("3.9.18", 9, 18)],
)
def test_a_python_is_read_as_pip_reads_it(text: str, minor: int, patch: int) -> None:
    assert PythonVersion.parse(text) == PythonVersion(minor, patch)


@pytest.mark.parametrize(
    "text",
    ["2.7", "abc", "", "3", "4.0", "3.11.4.1", "1!3.11", "3.11+local", "3.11.post1", "3.400", "٣.١١ x", "3." + "1" * 5000],
)
def test_what_is_no_cpython_3_is_refused(text: str) -> None:
    with pytest.raises(UnknownPythonError):
        PythonVersion.parse(text)


@pytest.mark.parametrize(
    ("tag", "minors"),
    [
        ("py3-none-any", range(6, 15)),
        ("py2.py3-none-any", range(6, 15)),
        ("py2-none-any", []),
        ("cp310-cp310-manylinux_2_17_x86_64", [10]),
        ("cp39-abi3-win_amd64", range(9, 15)),
        ("cp311-none-any", [11]),
        ("cp37-cp37m-macosx_10_9_x86_64", [7]),
        ("cp313-cp313t-win_amd64", []),
        ("pp310-pypy310_pp73-win_amd64", []),
        ("py38-none-any", range(8, 15)),
    ],
)
def test_a_wheel_runs_on_these_minors(tag: str, minors: range | list[int]) -> None:
    pairs = {f"{parsed.interpreter}-{parsed.abi}" for parsed in parse_tag(tag)}
    assert [minor for minor in range(6, 15) if pairs & supported_pairs(minor)] == list(minors)


SPECIFIERS = st.lists(
    st.tuples(
        st.sampled_from([">=", "<", "<=", ">", "!=", "==", "~="]),
        st.sampled_from(["3.8", "3.9", "3.9.7", "3.10.1", "3.11.0", "3.12.3", "3.13.0rc1"]),
    ).map("".join),
    min_size=1,
    max_size=3,
).map(",".join)


@given(st.lists(SPECIFIERS, max_size=6), st.integers(8, 13), st.integers(0, 20))
def test_a_class_is_treated_like_every_version_in_it(texts: list[str], minor: int, patch: int) -> None:
    classes = PythonClasses(requires_python_rules(texts), range(8, 14))
    python = PythonVersion(minor, patch)
    cls = classes.of(python)
    assert cls is not None
    for text in texts:
        by_packaging = SpecifierSet(text).contains(f"3.{minor}.{patch}", prereleases=True)
        assert bool(classes.admitted_by(text) >> cls.bit & 1) is by_packaging, text


def test_versions_that_no_specifier_tells_apart_share_a_class() -> None:
    classes = PythonClasses(requires_python_rules([">=3.9", "!=3.10.1"]), range(9, 12))
    assert len(classes.classes) == 4
    assert classes.of(PythonVersion(10, 0)) == classes.of(PythonVersion(10, 2)) == classes.of(PythonVersion(10, 99))
    assert classes.of(PythonVersion(10, 1)) != classes.of(PythonVersion(10, 0))
    assert classes.of(PythonVersion(42, 0)) is None


def test_what_is_no_specifier_admits_everything_as_in_pip() -> None:
    classes = PythonClasses(requires_python_rules(["nonsense", ">=3." + "1" * 5000]), range(9, 12))
    assert classes.admitted_by("nonsense") == classes.all


def test_minors_are_told_as_specifiers() -> None:
    classes = PythonClasses({}, range(6, 15))

    def words(*minors: int) -> str:
        return classes.in_words(classes_of(classes, minors))

    assert words(9) == "==3.9.*"
    assert words(8, 9, 10) == ">=3.8,<3.11"
    assert words(12, 13, 14) == ">=3.12"
    assert words(8, 10) == "==3.8.* or ==3.10.*"
    assert words() == ""


def classes_of(classes: PythonClasses, minors: tuple[int, ...]) -> int:
    return sum(1 << cls.bit for cls in classes.classes if cls.representative.minor in minors)
