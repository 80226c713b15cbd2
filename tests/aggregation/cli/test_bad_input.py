"""Bad input gives a helpful message and exit code 2, and nothing is written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from pydantic import ValidationError

from aggregation.settings import AggregationSettings, Role, Store
from tests.aggregation.cli.conftest import LATER, Command
from tests.support.reports import WEEK, report

CERTIFY = ["certify", "affinder", "--from", WEEK, "--to", WEEK]


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_PUBLIC_URL", "https://updates.example.org")


def state_of(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    state = {}
    for file in sorted(folder.rglob("*.sqlite3")):
        with sqlite3.connect(file) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                state[f"{file.stem}.{table}"] = database.execute(f"SELECT * FROM {table}").fetchall()
    return state


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--week", "last week"], "last week"),
        (["run", "--week", "2025-W53"], "2025-W53"),
        (["run", "--week", "2026-W41"], "no raw reports of 2026-W41"),
        (["run", "--week", "2026-W20"], "older than 60 days"),
        (["run", "--week", "2030-W01"], "can be published from"),
        (["run", "--since", "nonsense"], "nonsense"),
        (["run", "--since", "2030-W01"], "has not begun"),
        (["run", "--week", WEEK, "--since", WEEK], "not both"),
        (["certify", "affinder", "--from", WEEK, "--to", "2026-W20"], "is before"),
        (["certify", "affinder", "--from", WEEK, "--to", "2035-W20"], "has not begun"),
        (["certify", "affinder", "--from", "2010-W01", "--to", WEEK], "more than 520 weeks"),
        (["certify", "affinder", "--from", "W40", "--to", WEEK], "W40"),
        (["certify", "unknown", "--from", WEEK, "--to", WEEK], "no public numbers of unknown"),
        (["certify", "affinder", "--from", "2026-W20", "--to", "2026-W21"], "no public numbers of affinder"),
        (["keys", "revoke", "nosuchkey", "--reason", "It was lost on a train", "--yes"], "No single key matches"),
        (["verify", "/nowhere/at/all.jws"], "can't be read"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_input_is_explained_and_changes_nothing(command: Command, folder: Path, arguments: list[str], says: str) -> None:
    command.prepare([report(1, week="2026-W39")])
    command.publish(W40=25)
    command("keys", "create")
    before = state_of(folder)
    moved = [] if arguments[0] in ("verify", "nonsense") else ["--now", LATER]
    result = command(*arguments, *moved, code=2)
    assert says in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert state_of(folder) == before


COMMANDS_ON_STORES: list[list[str]] = [
    ["run"], ["status"], ["purge"], ["forget", "0" * 32], CERTIFY, ["keys", "list"], ["keys", "create"],
    ["inspect", "--reason", "Something looks wrong"], ["retract", "people", "--from", WEEK, "--reason", "Something was wrong"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS_ON_STORES, ids=lambda arguments: " ".join(arguments[:2]))
def test_commands_do_not_create_missing_stores(command: Command, folder: Path, arguments: list[str]) -> None:
    result = command(*arguments, code=2)
    assert "store at" in result.output
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "change", "code"),
    [
        ("aggregate.sqlite3", "UPDATE alembic_version_aggregate SET version_num = '9999'", 2),
        (f"raw/{WEEK}.sqlite3", "PRAGMA user_version = 9999", 1),
    ],
)
def test_a_store_of_a_newer_version_is_rejected(command: Command, folder: Path, file: str, change: str, code: int) -> None:
    command.publish(W40=25)
    with sqlite3.connect(folder / file) as database:
        database.execute(change)
    before = state_of(folder)
    for arguments in (["run"], ["status"], ["purge"]):
        assert "newer version" in command(*arguments, code=code).output
    assert state_of(folder) == before


def test_a_disabled_store_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command.publish(W40=25)
    monkeypatch.setenv("AGGREGATION_RAW_URL", "")
    assert "AGGREGATION_RAW_URL" in command("status", code=2).output
    assert command.json("keys", "list") == {"keys": []}, "commands on the aggregate store still work"


def test_the_clock_can_be_set_only_for_local_stores(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", "postgresql+asyncpg://scheduler@db.example.org/raw")
    assert "on this machine" in command("run", "--now", "2030-01-01T00:00:00", code=2).output


@pytest.mark.parametrize("url", ["nonsense", "mysql://x:geheim@y/z", "sqlite:///raw", "postgresql://x:geheim@y/z"])
@pytest.mark.parametrize("moved", [[], ["--now", LATER]])
def test_an_unsupported_url_lists_the_supported_kinds(
    command: Command, monkeypatch: pytest.MonkeyPatch, url: str, moved: list[str]
) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", url)
    result = command("status", *moved, code=2)
    assert "AGGREGATION_RAW_URL" in result.output
    assert "postgresql+asyncpg://" in result.output
    assert "geheim" not in result.output
    with pytest.raises(ValidationError) as error:
        AggregationSettings()
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("postgresql+asyncpg://x:y@127.0.0.1:9/raw", 1, "can't be used"),
        ("sqlite+aiosqlite:////proc/version", 2, "no raw store at /proc/version"),
    ],
)
def test_an_unusable_store_gives_a_readable_error(
    command: Command, monkeypatch: pytest.MonkeyPatch, url: str, code: int, says: str
) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", url)
    assert says in command("status", code=code).output


def test_an_invalid_setting_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_PUBLIC_URL", "our site")
    assert "AGGREGATION_PUBLIC_URL" in command("status", code=2).output


def test_each_role_may_have_its_own_url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", "postgresql+asyncpg://web@db/raw")
    monkeypatch.setenv("AGGREGATION_RAW_OWNER_URL", "postgresql+asyncpg://owner@db/raw")
    settings = AggregationSettings()
    assert settings.url(Store.RAW, Role.OWNER) == "postgresql+asyncpg://owner@db/raw"
    assert settings.url(Store.RAW, Role.SCHEDULER) == "postgresql+asyncpg://web@db/raw"
    assert str(settings.url(Store.AGGREGATE)).endswith("aggregate.sqlite3")
