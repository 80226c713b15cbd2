from __future__ import annotations

import pytest
from packaging.tags import parse_tag

from update_server.index.pythons import PythonVersion, UnknownPythonError, supported_pairs


@pytest.mark.parametrize(
    ("text", "minor", "patch"),
    [("3.11", 11, 0), ("3.11.4", 11, 4), ("3.14.0rc1", 14, 0), ("3.13.0a1", 13, 0), ("3.9.18", 9, 18)],
)
def test_python_versions_are_parsed(text: str, minor: int, patch: int) -> None:
    assert PythonVersion.parse(text) == PythonVersion(minor, patch)


@pytest.mark.parametrize(
    "text",
    ["2.7", "abc", "", "3", "4.0", "3.11.4.1", "1!3.11", "3.11+local", "3.11.post1", "3.400", "٣.١١ x", "3." + "1" * 5000],
)
def test_versions_other_than_cpython_3_are_rejected(text: str) -> None:
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
def test_a_wheel_supports_the_expected_minor_versions(tag: str, minors: range | list[int]) -> None:
    pairs = {f"{parsed.interpreter}-{parsed.abi}" for parsed in parse_tag(tag)}
    assert [minor for minor in range(6, 15) if pairs & supported_pairs(minor)] == list(minors)
