"""Notices come from a reviewed file, are validated as a whole and appear in the table of every channel."""

from __future__ import annotations

import json
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
- {name: affinder, text: Over., severity: info, until: 2026-11-30}
- {name: napari.harpy, inactive: true}
"""


def read(tmp_path: Path, text: str) -> dict[str, PackageNotices]:
    path = tmp_path / "notices.yaml"
    path.write_text(text, "utf-8")
    found, unlisted = read_notices(path, NAMES, TODAY)
    assert unlisted == []
    return dict(found)


def test_notices_are_read_by_package_without_expired_ones(tmp_path: Path) -> None:
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
        ("{name: affinder, text: x}", "not a list of notices"),
        ("- {name: affinder, text: x, colour: red}", "colour"),
        ("- {name: affinder, text: x, severity: fatal}", "fatal"),
        ("- {name: affinder}", "entry 1 .affinder.: give a text"),
        ('- {name: affinder, text: " ", severity: info}', "give a text"),
        ("- {name: affinder, text: x, inactive: true}", "give a text"),
        ("- {name: affinder, text: x}", "a warning needs a specifier"),
        (f"- {{name: affinder, severity: info, text: {'x' * 201}}}", "at most 200"),
        ('- {name: affinder, severity: info, text: "x\\u001b[31m"}', "one line"),
        ("- {name: affinder, text: x, specifier: 1.2}", "specifier"),
        ('- {name: affinder, text: x, specifier: "1.2"}', "is not a specifier"),
        ("- {name: affinder, severity: info, text: x, link: 'javascript:alert(1)'}", "https://"),
        ('- {name: affinder, severity: info, text: x, link: "https://e.org/ see"}', "https://"),
        (f"- {{name: affinder, severity: info, text: x, link: 'https://e.org/{'x' * 200}'}}", "at most 200"),
        ("- {name: affinder, text: x, until: 2027-06-31}", "not a list of notices"),
        ("- {name: affinder, severity: info, text: x}\n" * 11, "more than 10"),
        ("- [", "not a list of notices"),
        ("[" * 3000, "not a list of notices"),
    ],
)
def test_a_faulty_notices_file_is_rejected_as_a_whole(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(NoticesError, match=reason):
        read(tmp_path, text)


def test_an_unlisted_package_does_not_affect_other_notices(tmp_path: Path) -> None:
    path = tmp_path / "notices.yaml"
    path.write_text(
        "- {name: gone, inactive: true}\n- {name: gone, text: x, severity: info, until: 2001-01-01}\n" + GOOD, "utf-8"
    )
    found, unlisted = read_notices(path, NAMES, TODAY)
    assert (set(found), unlisted) == (NAMES, ["gone"])


def test_notices_are_in_the_table_of_each_channel(tmp_path: Path) -> None:
    facts = facts_of()
    tables = make_tables(facts, {}, 86400, notices=read(tmp_path, GOOD))
    for table in tables.tables.values():
        again = read_table(encoded(table)).packages
        assert [one.text for one in again["affinder"].notices] == ["0.4.0 measures <b>wrongly</b>.", "There is a new tutorial."]
        assert [key for key, package in again.items() if package.inactive] == ["napari-harpy"] * ("napari-harpy" in again)


def test_the_last_valid_notices_are_kept_and_the_error_is_logged(tmp_path: Path) -> None:
    write_snapshot(tmp_path)
    path = tmp_path / "notices.yaml"
    path.write_text("- {name: affinder, text: Not in use., severity: info, until: 2099-01-01}", "utf-8")
    store = IndexStore(tmp_path / "index.snapshot", None, 86400, notices=path)
    store.load()
    assert store.notices_error is None
    path.write_text("- [", "utf-8")
    with capture_logs() as lines:
        store.load()
    assert "not a list of notices" in next(line["message"] for line in lines if line["event"] == "notices_faulty")
    assert "The last valid notices are shown." in str(store.notices_error)
    assert store.loaded is not None
    assert [one.text for one in store.loaded.tables.tables["pypi"].packages["affinder"].notices] == ["Not in use."]


def test_a_client_sanitizes_and_truncates_hostile_notices() -> None:
    notices = [{"text": "a\u202e\x1b[31m" + "b" * 10**6, "link": "javascript:alert(1)"}] * 1000
    package = {"releases": [], "notices": notices}
    table = {
        "schema_version": 2,
        "channel": "pypi",
        "index_version": "x",
        "check_again_s": 86400,
        "packages": {"affinder": package},
    }
    (found, *others) = read_table(json.dumps(table).encode()).packages["affinder"].notices
    assert (found.text[:6], len(found.text), found.link, len(others)) == ("a[31mb", 200, "", 9)
