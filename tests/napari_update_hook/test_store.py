from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from napari_update_hook.consent import ConsentRecord
from napari_update_hook.errors import StateError
from napari_update_hook.store import CachedAnswer, ClientStore, SentBatch, environment_name
from napari_update_hook.wire import Level

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SERVICE = "https://updates.example"


def answer(level: Level) -> ConsentRecord:
    return ConsentRecord(NOW, level, 1, SERVICE, None, "test")


def test_looking_writes_nothing(tmp_path: Path) -> None:
    store = ClientStore(tmp_path / "state", "abc")
    assert store.consent() is None
    assert store.secrets() is None
    assert store.first_week(SERVICE) is None
    assert store.revision(SERVICE, "2026-W47") == 0
    assert store.sent() == []
    assert store.cached("https://x") is None
    assert not (tmp_path / "state").exists()


def test_every_answer_is_kept_and_the_newest_holds(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, "abc")
    for level in (Level.FULL, Level.NONE, Level.BASIC):
        store.record_consent(answer(level))
    assert [record.level for record in store.consent_history()] == [Level.FULL, Level.NONE, Level.BASIC]
    assert store.consent() == answer(Level.BASIC)


def test_secrets_come_with_consent_and_go_with_the_last_environment_that_consents(tmp_path: Path) -> None:
    first, second = ClientStore(tmp_path, "first"), ClientStore(tmp_path, "second")
    first.record_consent(answer(Level.NONE))
    assert first.secrets() is None
    first.record_consent(answer(Level.BASIC))
    second.record_consent(answer(Level.FULL))
    of_first, of_second = first.secrets(), second.secrets()
    assert of_first is not None
    assert of_second is not None
    assert of_first[0] == of_second[0], "one account"
    assert of_first[1] != of_second[1], "two environments"
    first.record_consent(answer(Level.NONE))
    assert first.secrets() is None
    assert second.secrets() == of_second
    second.record_consent(answer(Level.NONE))
    for path in tmp_path.rglob("*.sqlite3"):
        for secret in (*of_first, of_second[1]):
            assert secret not in path.read_bytes(), "a secret that went is in no file"
    second.record_consent(answer(Level.BASIC))
    renewed = second.secrets()
    assert renewed is not None
    assert renewed[0] != of_first[0], "a new secret after all consent had ended"


def test_a_revision_never_goes_back(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, "abc")
    for revision in (1, 5, 3):
        store.note_revision(SERVICE, "2026-W47", revision)
    assert store.revision(SERVICE, "2026-W47") == 5
    assert store.revision(SERVICE, "2026-W48") == 0


def test_the_first_week_at_a_service_stays(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, "abc")
    store.note_sending(SERVICE, "2026-W47", Level.BASIC, "0" * 32)
    store.note_sending(SERVICE, "2026-W48", Level.BASIC, "1" * 32)
    assert store.first_week(SERVICE) == "2026-W47"
    assert store.first_week("https://other.example") is None


def test_what_was_sent_is_kept_verbatim(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, "abc")
    batch = SentBatch(NOW, SERVICE, "2026-W47", Level.FULL, '{"a": 1}', '{"stored": true}')
    store.keep_sent(batch)
    assert store.sent() == [batch]


def test_an_answer_is_cached_with_an_etag_of_our_own(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, "abc")
    store.cache("https://x", CachedAnswer(NOW, b"{}"))
    cached = store.cached("https://x")
    assert cached is not None
    assert cached.etag == "44136fa355b3678a1146ad16f7e8649e"


@pytest.mark.parametrize("content", [b"not a database, and longer than a page header would be" * 50, None])
def test_a_file_that_cannot_be_used_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    store = ClientStore(tmp_path, "abc")
    store.record_consent(answer(Level.BASIC))
    path = tmp_path / "environments" / "abc.sqlite3"
    if content is None:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StateError, match=r"abc\.sqlite3.*[Dd]elete"):
        store.consent()


def test_an_environment_is_named_by_a_hash_of_its_path(tmp_path: Path) -> None:
    assert len(environment_name(tmp_path)) == 16
    assert environment_name(tmp_path) == environment_name(tmp_path / ".." / tmp_path.name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a user's files apart by the folder's own rules")
def test_nobody_else_on_the_computer_can_read_the_secret(tmp_path: Path) -> None:
    ClientStore(tmp_path, "abc").record_consent(answer(Level.BASIC))
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.rglob("*.sqlite3")}
    assert modes == {"account.sqlite3": 0, "abc.sqlite3": 0}
