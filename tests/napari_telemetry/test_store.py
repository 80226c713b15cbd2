"""What is stored, and what is not."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from napari_telemetry import database
from napari_telemetry.consent_rules import ConsentRecord, Decision
from napari_telemetry.database import FILE, SCHEMA
from napari_telemetry.environment import environment_info
from napari_telemetry.records import Backoff, Counts, PreparedBatch
from napari_telemetry.settings import TelemetrySettings
from napari_telemetry.store import MAX_KINDS, Store
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.errors import StateError

from tests.support.client import HERE, SYSTEM

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
SERVICE = "https://updates.example"
WEEK = "2026-W48"
INFO = environment_info(HERE, Level.FULL, SYSTEM)


def answer(level: Level, at: datetime = NOW, service: str = SERVICE, until: datetime | None = None) -> ConsentRecord:
    return ConsentRecord(at, level, 1, service, until, "test")


def prepare(store: Store, now: datetime = NOW) -> None:
    """Begin a check at the agreed level."""
    settings = TelemetrySettings(SERVICE, dict.fromkeys(TELEMETRY_LEVELS, SERVICE), None, now=lambda: now)
    store.prepare(settings, lambda consent: Decision(consent.level if consent is not None else Level.NONE), INFO)


def allow(_: object) -> Decision:
    return Decision(Level.FULL)


def batch(consent: int, week: str = WEEK, revision: int = 1, level: Level = Level.FULL) -> PreparedBatch:
    return PreparedBatch(SERVICE, SERVICE, week, level, "0" * 32, revision, 1, consent, b'{"a": 1}')


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state", "abc")


def tables_with_rows(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name for name in names if database.execute(f"SELECT 1 FROM {name}").fetchone()}


def test_the_file_has_at_most_eight_tables() -> None:
    assert SCHEMA.count("CREATE TABLE") <= 8


def test_level_none_stores_only_the_answer(store: Store, tmp_path: Path) -> None:
    record = store.record(answer(Level.NONE))
    prepare(store)
    assert store.add(record.number, INFO, {WEEK: Counts({"a.b": 1})}) is False
    (path,) = (tmp_path / "state").rglob("*.sqlite3")
    assert tables_with_rows(path) == {"consents"}


def test_secrets_exist_only_while_there_is_consent(tmp_path: Path) -> None:
    first, second = Store(tmp_path, "first"), Store(tmp_path, "second")
    first.record(answer(Level.NONE))
    assert first.view(SERVICE).secrets is None
    first.record(answer(Level.BASIC))
    second.record(answer(Level.FULL))
    of_first, of_second = first.view(SERVICE).secrets, second.view(SERVICE).secrets
    assert of_first is not None
    assert of_second is not None
    assert of_first[0] == of_second[0], "same account"
    assert of_first[1] != of_second[1], "different environments"
    first.record(answer(Level.NONE))
    assert first.view(SERVICE).secrets is None
    assert second.view(SERVICE).secrets == of_second
    second.record(answer(Level.NONE))
    for secret in (*of_first, of_second[1]):
        assert secret not in (tmp_path / FILE).read_bytes(), "no file contains a deleted secret"
    second.record(answer(Level.BASIC))
    renewed = second.view(SERVICE).secrets
    assert renewed is not None
    assert renewed[0] != of_first[0], "a new secret after all consent had ended"


def test_expired_consent_is_cleaned_up(store: Store) -> None:
    store.record(answer(Level.FULL, until=NOW + timedelta(days=1)))
    prepare(store)
    assert store.view(SERVICE).drafts != []
    prepare(store, NOW + timedelta(days=1))
    view = store.view(SERVICE)
    assert view.secrets is None
    assert len(view.history) == 1


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (answer(Level.FULL), answer(Level.FULL), Level.FULL),
        (answer(Level.FULL), answer(Level.MIDDLE), Level.MIDDLE),
        (answer(Level.FULL), answer(Level.BASIC), Level.BASIC),
        (answer(Level.FULL), answer(Level.NONE), None),
        (answer(Level.FULL, until=NOW), answer(Level.FULL), None),
        (answer(Level.FULL), answer(Level.FULL, service="https://other.example"), None),
        (msgspec.structs.replace(answer(Level.FULL), schema_version=0), answer(Level.FULL), None),
    ],
)
def test_a_new_answer_keeps_only_the_data_it_covers(
    store: Store, before: ConsentRecord, after: ConsentRecord, left: Level | None
) -> None:
    record = store.record(before)
    assert store.add(record.number, INFO, {WEEK: Counts({"a.b": 3})})
    secrets = store.view(SERVICE).secrets
    store.record(after)
    view = store.view(SERVICE)
    if left is None:
        assert view.drafts == []
        assert view.secrets != secrets
    else:
        (draft,) = view.drafts
        assert draft.level is left
        assert bool(draft.info.plugins) is left.includes(Level.MIDDLE)
        assert view.secrets == secrets
    assert view.counts.get(WEEK, Counts()).commands == ({"a.b": 3} if left is Level.FULL else {})


def test_the_number_of_counted_kinds_is_limited(store: Store) -> None:
    number = store.record(answer(Level.FULL)).number
    store.add(number, INFO, {WEEK: Counts({f"a.{one}": 1 for one in range(MAX_KINDS + 10)})})
    store.add(number, INFO, {WEEK: Counts({"a.0": 1, "b.new": 1})})
    counted = store.view(SERVICE).counts[WEEK].commands
    assert len(counted) == MAX_KINDS
    assert counted["a.0"] == 2


def test_two_processes_see_each_others_changes(tmp_path: Path) -> None:
    one, other = Store(tmp_path, "abc"), Store(tmp_path, "abc")
    assert one.has_changed() is False
    other.record(answer(Level.BASIC))
    assert one.has_changed()
    assert not one.has_changed()
    one.record(answer(Level.NONE))
    assert one.has_changed(), "its own change is seen, too"
    (tmp_path / FILE).unlink()
    assert one.has_changed()
    assert one.view(SERVICE).history == []
    one.record(answer(Level.BASIC))
    assert len(one.view(SERVICE).history) == 1, "the file is created again"


def test_two_processes_show_one_prompt(tmp_path: Path) -> None:
    one, other = Store(tmp_path, "abc"), Store(tmp_path, "abc")
    assert one.claim_prompt(NOW)
    assert not other.claim_prompt(NOW + timedelta(seconds=5))
    assert other.claim_prompt(NOW + timedelta(days=30))
    assert len(one.view(SERVICE).prompts) == 2


def test_an_interrupted_report_counts_as_lost_after_two_minutes(store: Store) -> None:
    number = store.record(answer(Level.FULL)).number
    prepare(store)
    assert store.begin_sending(batch(number), allow, NOW) is not None
    assert store.begin_sending(batch(number, revision=2), allow, NOW + timedelta(minutes=1)) is None
    assert store.begin_sending(batch(number, revision=2), allow, NOW + timedelta(minutes=2)) is not None
    assert [one.state for one in store.view(SERVICE).sent] == ["lost", "sending"]


def other_consent(store: Store) -> None:
    store.record(answer(Level.NONE))
    store.record(answer(Level.FULL))
    prepare(store)


def forgotten_week(store: Store) -> None:
    store.forget(SERVICE, WEEK)


def sent_by_another(store: Store) -> None:
    number = store.begin_sending(batch(1), allow, NOW)
    assert number is not None
    store.finish_sending(number, "{}", Backoff(NOW, NOW), version=1)


def being_sent_by_another(store: Store) -> None:
    assert store.begin_sending(batch(1), allow, NOW) is not None


@pytest.mark.parametrize("meanwhile", [None, other_consent, forgotten_week, sent_by_another, being_sent_by_another])
@pytest.mark.parametrize("revision", [1, 2])
def test_a_prepared_report_is_not_sent_after_a_conflicting_event(
    store: Store, meanwhile: Callable[[Store], None] | None, revision: int
) -> None:
    store.record(answer(Level.FULL))
    prepare(store)
    if meanwhile is not None:
        meanwhile(store)
    left = store.begin_sending(batch(1, revision=revision), allow, NOW)
    assert (left is not None) is (meanwhile is None and revision == 1)


@pytest.mark.parametrize(("level", "days"), [(Level.MIDDLE, 0), (Level.NONE, 0), (Level.FULL, 30), (Level.FULL, -30)])
def test_a_report_needs_its_level_and_an_open_week(store: Store, level: Level, days: int) -> None:
    """Use the effective level at the moment of sending."""
    store.record(answer(Level.FULL))
    prepare(store)
    assert store.begin_sending(batch(1), lambda _: Decision(level), NOW + timedelta(days=days)) is None


def test_a_refusal_from_a_clock_behind_still_deletes_the_report(store: Store) -> None:
    number = store.record(answer(Level.FULL)).number
    prepare(store)
    store.begin_sending(batch(number), allow, NOW)
    store.record(answer(Level.NONE, NOW - timedelta(seconds=1)))
    assert len(store.view(SERVICE).deletions) == 1


def test_a_clock_that_is_briefly_ahead_loses_no_deletion(store: Store) -> None:
    number = store.record(answer(Level.FULL)).number
    prepare(store)
    store.begin_sending(batch(number), allow, NOW)
    store.forget(SERVICE, WEEK)
    prepare(store, NOW + timedelta(days=90))
    assert len(store.view(SERVICE).deletions) == 1
    prepare(store, NOW + timedelta(days=400))
    assert store.view(SERVICE).deletions == [], "a server that is gone is not asked forever"


def test_a_late_receipt_changes_no_other_report(store: Store) -> None:
    number = store.record(answer(Level.FULL)).number
    prepare(store)
    first = store.begin_sending(batch(number), allow, NOW)
    assert first is not None
    store.forget(SERVICE, WEEK)
    assert store.finish_deletion("0" * 32, SERVICE, NOW + timedelta(minutes=3))
    prepare(store, NOW + timedelta(days=7))
    second = store.begin_sending(batch(number, "2026-W49"), allow, NOW + timedelta(days=7))
    store.finish_sending(first, '{"stored": true}', Backoff(NOW, NOW), version=1)
    assert second != first
    assert [one.state for one in store.view(SERVICE).sent] == ["sending"]


@pytest.mark.parametrize("content", [b"not a database, and longer than a page header would be" * 50, None])
def test_an_unusable_file_is_reported_with_advice(tmp_path: Path, content: bytes | None) -> None:
    store = Store(tmp_path, "abc")
    store.record(answer(Level.BASIC))
    store.close()
    if content is None:
        with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        (tmp_path / FILE).write_bytes(content)
    for use in (lambda: store.view(SERVICE), store.check_health):
        with pytest.raises(StateError, match=r"telemetry\.sqlite3.*[Dd]elete"):
            use()


def test_the_health_check_finds_a_damaged_page(tmp_path: Path) -> None:
    """The header is intact; only a check of all pages finds the damage."""
    store = Store(tmp_path, "abc")
    store.record(answer(Level.BASIC))
    store.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 8192
    (tmp_path / FILE).write_bytes(bytes(content))
    with pytest.raises(StateError, match="damaged"):
        store.check_health()


def test_a_file_of_another_program_is_not_changed(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("PRAGMA application_id = 42")
        database.execute("CREATE TABLE mine (x)")
        database.commit()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StateError, match="another program"):
        Store(tmp_path, "abc").record(answer(Level.NONE))
    assert (tmp_path / FILE).read_bytes() == before


def test_a_locked_file_is_reported_as_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    store = Store(tmp_path, "abc")
    store.record(answer(Level.BASIC))
    with contextlib.closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateError, match="Try again"):
            store.record(answer(Level.NONE))
        other.execute("ROLLBACK")
    assert len(store.view(SERVICE).history) == 1


def test_without_a_home_folder_an_answer_cannot_be_saved() -> None:
    store = Store(None, "abc")
    assert store.view(SERVICE).history == []
    with pytest.raises(StateError, match="NAPARI_UPDATE_STATE"):
        store.record(answer(Level.BASIC))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows protects the folder, not the file")
def test_other_users_cannot_read_the_secret(store: Store, tmp_path: Path) -> None:
    store.record(answer(Level.BASIC))
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o077 == 0
