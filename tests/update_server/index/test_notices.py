"""Notices: a reviewed file, checked whole, in the tables of every channel."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from napari_update_hook.table import Notice, read_table
from structlog.testing import capture_logs

from tests.support.facts import facts_of, write_snapshot
from update_server.index.notices import NoticesError, PackageNotices, read_notices
from update_server.index.store import IndexStore
from update_server.index.table import encoded, make_tables

NAMES = {"affinder", "napari-harpy"}
TODAY = date(2026, 12, 1)
GOOD = """
- name: Affinder
  specifier: "==0.4.0"
  text: 0.4.0 measures <b>wrongly</b>.
  link: https://example.org/issues/1
  until: 2026-12-31
- {name: affinder, severity: info, text: There is a new tutorial.}
- {name: affinder, text: Over., until: 2026-11-30}
- {name: napari.harpy, inactive: true}
"""


def read(tmp_path: Path, text: str) -> dict[str, PackageNotices]:
    path = tmp_path / "notices.yaml"
    path.write_text(text, "utf-8")
    return dict(read_notices(path, NAMES, TODAY))


def test_a_file_is_read_by_package_without_what_is_over(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}
    found = read(tmp_path, GOOD)
    assert found["affinder"].notices == (
        Notice("0.4.0 measures <b>wrongly</b>.", "==0.4.0", "warning", "https://example.org/issues/1", "2026-12-31"),
        Notice("There is a new tutorial.", "", "info"),
    )  # fmt: skip
    assert found["napari-harpy"] == PackageNotices(inactive=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{name: affinder, text: x}", "no list of notices"),
        ("- {name: affinder, text: x, colour: red}", "colour"),
        ("- {name: affinder, text: x, severity: fatal}", "severity|enum|Invalid"),
        ("- {name: other, text: x}", "entry 1 .other.: the index lists no such package"),
        ("- {name: affinder}", "give a text"),
        ("- {name: affinder, text: x, inactive: true}", "give a text"),
        (f"- {{name: affinder, text: {'x' * 201}}}", "at most 200"),
        ('- {name: affinder, text: "x\\u001b[31m"}', "one line"),
        ("- {name: affinder, text: x, specifier: 1.2}", "specifier|str"),
        ('- {name: affinder, text: x, specifier: "1.2"}', "is no specifier"),
        ("- {name: affinder, text: x, link: 'javascript:alert(1)'}", "https://"),
        ("- {name: affinder, text: x, until: soon}", "no list of notices"),
        ("- {name: affinder, text: x}\n" * 11, "more than 10"),
        ("- [", "no list of notices"),
    ],
)
def test_a_file_with_a_fault_is_refused_as_a_whole(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(NoticesError, match=reason):
        read(tmp_path, text)


def test_they_are_in_the_table_of_each_channel(tmp_path: Path) -> None:
    facts = facts_of()
    tables = make_tables(facts, {}, 86400, notices=read(tmp_path, GOOD))
    for table in tables.tables.values():
        again = read_table(encoded(table)).packages
        assert [one.text for one in again["affinder"].notices] == ["0.4.0 measures <b>wrongly</b>.", "There is a new tutorial."]
        assert [key for key, package in again.items() if package.inactive] == ["napari-harpy"] * ("napari-harpy" in again)


def test_a_service_keeps_the_last_good_ones(tmp_path: Path) -> None:
    write_snapshot(tmp_path)
    path = tmp_path / "notices.yaml"
    path.write_text("- {name: affinder, text: Not in use., until: 2099-01-01}", "utf-8")
    store = IndexStore(tmp_path / "index.sqlite3", None, 86400, notices=path)
    store.load()
    path.write_text("- [", "utf-8")
    with capture_logs() as lines:
        store.load()
    assert "no list of notices" in next(line["message"] for line in lines if line["event"] == "notices_unreadable")
    assert store.loaded is not None
    assert [one.text for one in store.loaded.tables.tables["pypi"].packages["affinder"].notices] == ["Not in use."]
