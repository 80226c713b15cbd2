"""What is remembered, and what is not: each subject of the store by its own methods."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from napari_telemetry.decision import ConsentRecord
from napari_telemetry.errors import StateBusyError, StateError
from napari_telemetry.facts import facts_of
from napari_telemetry.state import CachedAnswer, ClientStore, SentBatch, database
from napari_telemetry.state.drafts import MOST_KINDS, Counts
from napari_telemetry.state.sendings import SentIdentifier
from napari_telemetry.wire import Level

from tests.support.client import HERE

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
SERVICE = "https://updates.example"
WEEK = "2026-W48"
FACTS = facts_of(HERE, Level.FULL)


def answer(level: Level, at: datetime = NOW, service: str = SERVICE, until: datetime | None = None) -> ConsentRecord:
    return ConsentRecord(at, level, 1, service, until, "test")


def batch(week: str = WEEK, level: Level = Level.FULL) -> SentBatch:
    return SentBatch(NOW, SERVICE, SERVICE, week, level, '{"a": 1}')


@pytest.fixture
def store(tmp_path: Path) -> ClientStore:
    return ClientStore(tmp_path / "state", "abc")


def tables_with_rows(path: Path) -> set[str]:
    database = sqlite3.connect(path)
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name for name in names if database.execute(f"SELECT 1 FROM {name}").fetchone()}
    database.close()
    return found


def test_level_none_writes_nothing_but_the_answer(store: ClientStore, tmp_path: Path) -> None:
    store.consents.record(answer(Level.NONE))
    store.drafts.note(SERVICE, WEEK, Level.BASIC, FACTS)
    assert store.drafts.add(SERVICE, store.drafts.epoch(), FACTS, {WEEK: Counts({"a.b": 1})}) is False
    (path,) = (tmp_path / "state").rglob("*.sqlite3")
    assert tables_with_rows(path) == {"consent"}


def test_secrets_come_with_consent_and_go_with_the_last_environment_that_consents(tmp_path: Path) -> None:
    first, second = ClientStore(tmp_path, "first"), ClientStore(tmp_path, "second")
    first.consents.record(answer(Level.NONE))
    assert first.consents.secrets() is None
    first.consents.record(answer(Level.BASIC))
    second.consents.record(answer(Level.FULL))
    of_first, of_second = first.consents.secrets(), second.consents.secrets()
    assert of_first is not None
    assert of_second is not None
    assert of_first[0] == of_second[0], "one account"
    assert of_first[1] != of_second[1], "two environments"
    first.consents.record(answer(Level.NONE))
    assert first.consents.secrets() is None
    assert second.consents.secrets() == of_second
    second.consents.record(answer(Level.NONE))
    for path in tmp_path.rglob("*.sqlite3"):
        for secret in (*of_first, of_second[1]):
            assert secret not in path.read_bytes(), "a secret that went is in no file"
    second.consents.record(answer(Level.BASIC))
    renewed = second.consents.secrets()
    assert renewed is not None
    assert renewed[0] != of_first[0], "a new secret after all consent had ended"


def test_a_consent_that_ended_by_itself_is_cleared_up(store: ClientStore) -> None:
    store.consents.record(answer(Level.FULL, until=NOW + timedelta(days=1)))
    store.drafts.note(SERVICE, WEEK, Level.FULL, FACTS)
    store.answers.keep(f"{SERVICE}/api/telemetry/allowed/full", CachedAnswer(NOW, b"{}"))
    store.consents.end(NOW)
    assert store.drafts.all() != [], "it still holds"
    store.consents.end(NOW + timedelta(days=1))
    assert store.consents.secrets() is None
    assert store.drafts.all() == []
    assert store.answers.cached(f"{SERVICE}/api/telemetry/allowed/full") is None
    assert len(store.consents.history()) == 1


@pytest.mark.parametrize("moment", ["own.change", "account.change", "own.read"])
def test_who_agrees_while_a_consent_that_ended_is_cleared_up_has_agreed(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Somebody answers in a window while a check, or another process, has just seen that the last answer holds no more."""
    store.consents.record(answer(Level.FULL, until=NOW))
    other = ClientStore(tmp_path / "state", "abc")
    place, verb = moment.split(".")
    file = store.files[0] if place == "own" else store.files[1]
    before = getattr(file, verb)
    agreed: list[bool] = []

    def meanwhile() -> Any:
        if not agreed:
            agreed.append(True)
            other.consents.record(answer(Level.FULL, NOW + timedelta(hours=1)))
            other.drafts.note(SERVICE, WEEK, Level.FULL, FACTS)
        return before()

    monkeypatch.setattr(file, verb, meanwhile)
    store.consents.end(NOW + timedelta(hours=1))
    assert agreed
    assert store.consents.secrets() is not None
    assert [draft.week for draft in store.drafts.all()] == [WEEK]


def test_clearing_up_between_the_halves_of_an_answer_leaves_its_secret(
    store: ClientStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.consents.record(answer(Level.NONE))
    tidying = ClientStore(tmp_path / "state", "abc")
    own = store.files[0]
    change = own.change

    def meanwhile() -> Any:
        tidying.consents.end(NOW)  # the account's secret is made, the answer not yet written
        return change()

    monkeypatch.setattr(own, "change", meanwhile)
    store.consents.record(answer(Level.FULL))
    assert store.consents.secrets() is not None


def test_a_withdrawal_holds_where_another_process_uses_the_accounts_file(
    store: ClientStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    store.consents.record(answer(Level.FULL))
    own, account = store.files
    with contextlib.closing(sqlite3.connect(account.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.consents.record(answer(Level.NONE))
        other.execute("ROLLBACK")
    assert [record.level for record in store.consents.history()] == [Level.FULL, Level.NONE]
    assert "secret" not in tables_with_rows(own.path)
    store.consents.end(NOW)  # as every check does
    assert "secret" not in tables_with_rows(account.path)


def test_agreeing_and_clearing_up_at_once_loses_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 20.0)
    agreeing, tidying = ClientStore(tmp_path / "state", "abc"), ClientStore(tmp_path / "state", "abc")
    is_over = threading.Event()

    def tidy() -> None:
        while not is_over.is_set():
            with contextlib.suppress(StateBusyError):
                tidying.consents.end(NOW)

    thread = threading.Thread(target=tidy)
    thread.start()
    try:
        for _ in range(40):
            for level in (Level.NONE, Level.FULL):
                agreeing.consents.record(answer(level))
            assert agreeing.consents.secrets() is not None
    finally:
        is_over.set()
        thread.join()


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
def test_what_a_new_answer_leaves_of_what_was_collected(
    store: ClientStore, before: ConsentRecord, after: ConsentRecord, left: Level | None
) -> None:
    store.consents.record(before)
    assert store.drafts.add(SERVICE, store.drafts.epoch(), FACTS, {WEEK: Counts({"a.b": 3})})
    secrets = store.consents.secrets()
    store.consents.record(after)
    if left is None:
        assert store.drafts.all() == []
        assert store.consents.secrets() != secrets
    else:
        (draft,) = store.drafts.all()
        assert draft.level is left
        assert bool(draft.facts.plugins) is left.includes(Level.MIDDLE)
        assert store.consents.secrets() == secrets
    assert store.drafts.counts(WEEK).commands == ({"a.b": 3} if left is Level.FULL else {})


def test_the_kinds_that_are_counted_are_bounded(store: ClientStore) -> None:
    store.consents.record(answer(Level.FULL))
    many = {f"a.{number}": 1 for number in range(MOST_KINDS + 10)}
    store.drafts.add(SERVICE, store.drafts.epoch(), FACTS, {WEEK: Counts(many)})
    store.drafts.add(SERVICE, store.drafts.epoch(), FACTS, {WEEK: Counts({"a.0": 1, "b.new": 1})})
    counted = store.drafts.counts(WEEK).commands
    assert len(counted) == MOST_KINDS
    assert counted["a.0"] == 2


def test_a_revision_is_never_given_out_twice_and_never_goes_back(store: ClientStore) -> None:
    assert [store.sendings.reserve_revision(SERVICE, WEEK) for _ in range(3)] == [1, 2, 3]
    for revision in (7, 5):
        store.sendings.note_revision(SERVICE, WEEK, revision)
    assert store.sendings.reserve_revision(SERVICE, WEEK) == 8
    assert store.sendings.revision(SERVICE, "2026-W49") == 0


def test_what_leaves_is_written_down_first(store: ClientStore) -> None:
    store.consents.record(answer(Level.FULL))
    number = store.sendings.begin(batch(), "0" * 32, "1", store.drafts.epoch())
    assert number is not None
    assert store.sendings.sent() == [batch()], "no receipt yet"
    assert store.sendings.identifiers() == [SentIdentifier(SERVICE, WEEK, Level.FULL, SERVICE, "0" * 32)]
    assert store.sendings.under_way(NOW - timedelta(seconds=1))
    store.sendings.note_receipt(number, '{"stored": true}')
    store.sendings.end("1")
    assert store.sendings.sent()[0].receipt == '{"stored": true}'
    assert not store.sendings.under_way(NOW - timedelta(seconds=1))
    assert store.sendings.first_week(SERVICE) == WEEK


def test_nothing_leaves_for_a_week_that_is_forgotten_or_after_consent_was_withdrawn(store: ClientStore) -> None:
    store.consents.record(answer(Level.FULL))
    store.sendings.forget([(SERVICE, WEEK)])
    assert store.sendings.begin(batch(), "0" * 32, "1", store.drafts.epoch()) is None
    store.consents.record(answer(Level.BASIC))
    epoch = store.drafts.epoch()
    assert store.sendings.begin(batch("2026-W49"), "1" * 32, "1", epoch) is None, "the answer has been lowered meanwhile"
    store.consents.record(answer(Level.FULL))
    assert store.sendings.begin(batch("2026-W49"), "1" * 32, "1", epoch) is None, "it bears the pseudonym of before"
    assert store.sendings.sent() == []
    number = store.sendings.begin(batch("2026-W49"), "1" * 32, "1", store.drafts.epoch())
    assert number is not None
    store.sendings.take_back(number)
    assert store.sendings.sent() == []


@pytest.mark.parametrize("content", [b"not a database, and longer than a page header would be" * 50, None])
def test_a_file_that_cannot_be_used_says_what_to_do(store: ClientStore, tmp_path: Path, content: bytes | None) -> None:
    store.consents.record(answer(Level.BASIC))
    path = tmp_path / "state" / "environments" / "abc.sqlite3"
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StateError, match=r"abc\.sqlite3.*[Dd]elete"):
        store.consents.current()
    own, account = store.files
    with pytest.raises(StateError, match="elete"):
        own.examine()
    account.examine()


def test_another_programs_file_is_left_alone(store: ClientStore, tmp_path: Path) -> None:
    path = tmp_path / "state" / "environments" / "abc.sqlite3"
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA application_id = 42")
        database.execute("CREATE TABLE mine (x)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="another program"):
        store.consents.record(answer(Level.NONE))
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a user's files apart by the folder's own rules")
def test_nobody_else_on_the_computer_can_read_the_secret(store: ClientStore, tmp_path: Path) -> None:
    store.consents.record(answer(Level.BASIC))
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.rglob("*.sqlite3")}
    assert modes == {"account.sqlite3": 0, "abc.sqlite3": 0}
