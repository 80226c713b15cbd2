"""Parsing an update table and picking a release."""

from __future__ import annotations

import json
from typing import Any

import pytest
from napari_update_hook.table import Choice, Release, TablePackage, admits, choose, pick, read_table

from tests.support.client import TABLE, TABLE_BODY


def test_a_table_is_parsed_and_unknown_fields_are_ignored() -> None:
    row = {"version": "1.0", "requires_python": ">=3.9", "requires_napari": "<0.9", "requires": {"npe2": ">=0.8"}, "new": 1}
    package = {"releases": [row], "yanked": {"0.9": ""}, "vulnerabilities": {"0.8": ["X-1"]}, "conda_name": "a_b", "new": {}}
    table = read_table(json.dumps(TABLE | {"packages": {"a-b": package}, "new": []}).encode())
    assert (table.channel, table.index_version, table.check_again_s) == ("pypi", "2026-11-18T08:00:00Z", 86400)
    releases = (Release("1.0", ">=3.9", "<0.9", {"npe2": ">=0.8"}),)
    assert table.packages == {"a-b": TablePackage(releases, {"0.9": ""}, {"0.8": ["X-1"]}, "a_b")}


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 3},
        {"channel": 7},
        {"check_again_s": float("nan")},
        {"check_again_s": float("inf")},
        {"check_again_s": 10**400},
        {"check_again_s": True},
        {"check_again_s": "soon"},
        {"packages": []},
        {"packages": {"a": 1}},
        {"packages": {"a": {}}},
        {"packages": {"a": {"releases": [{"version": 1}]}}},
        {"packages": {"a": {"releases": [{"version": "1", "requires": ["npe2"]}]}}},
        {"packages": {"a": {"releases": [], "vulnerabilities": {"1": 2}}}},
        {"packages": {"a": {"releases": [], "conda_name": []}}},
    ],
)
def test_an_invalid_field_is_a_value_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_table(json.dumps(TABLE | change).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, TABLE_BODY[:-1]])
def test_anything_but_a_table_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_table(body)


ROWS = (Release("2.0", ">=3.10", ">=0.7"), Release("1.0", "", "<0.8"), Release("3.0rc1", "<3.9"))


def test_the_first_compatible_row_is_picked() -> None:
    assert [pick(ROWS, python, napari) for python, napari in (("3.10.1", None), ("3.10.1", "0.6.1"), ("3.8.1", "0.9.0"))] == [
        ROWS[0],
        ROWS[1],
        ROWS[2],
    ]
    assert pick(ROWS, "3.9.1", "0.9.0") is None


def test_an_incompatible_newer_release_is_named_with_the_reason() -> None:
    package = TablePackage(ROWS)
    assert choose(package, "3.9.1", "0.6.1") == Choice("1.0", "2.0", ">=3.10")
    assert choose(package, "3.10.1", "0.6.1") == Choice("1.0", "2.0", None, ">=0.7")
    assert choose(package, "3.8.1", "0.9.0") == Choice("3.0rc1"), "2.0 is not newer"
    assert choose(TablePackage(), "3.10.1", None) == Choice(None)


def test_an_invalid_specifier_allows_every_version() -> None:
    assert all(admits(text, "3.10.1") for text in ("", "nonsense", ">=3.9," * 3, ">=3." + "9" * 5_000))
    assert not admits(">=3.11", "3.10.1")
    assert admits(">=0.7.0rc1", "0.7.0rc2")
