from __future__ import annotations

import lzma
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.facts import facts_of, index_of
from update_server.index import seed, snapshot
from update_server.index.snapshot import BrokenSnapshotError
from update_server.index.store import IndexStore


def keeper_on(folder: Path, seed_path: Path | None = None) -> IndexStore:
    return IndexStore(folder / "index.sqlite3", seed_path, 86400)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


def make_newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate, "Cannot read"),
        (lambda path: path.write_bytes(b"hello"), "Cannot read"),
        (make_foreign, "another program"),
        (make_newer, "format 99"),
    ],
    ids=["cut off", "no database", "foreign", "newer"],
)
def test_a_broken_snapshot_is_moved_aside_and_nothing_is_served(tmp_path: Path, damage: object, told: str) -> None:
    path = tmp_path / "index.sqlite3"
    snapshot.write(index_of(), path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(BrokenSnapshotError, match=told):
        snapshot.read(path)
    keeper = keeper_on(tmp_path)
    keeper.load()
    assert keeper.loaded is None
    assert not path.exists()
    assert [found.name for found in tmp_path.glob("index.sqlite3.broken-*")]
    assert "moved aside" in str(keeper.error)
    keeper.replace(index_of())
    assert keeper.loaded is not None
    assert keeper.error is None


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", seed.pack(facts_of())[:100], lzma.compress(b"{}"), lzma.compress(b" " * (seed.MAX_SIZE + 1), preset=0)],
    ids=["empty", "no archive", "cut off", "another form", "a bomb"],
)
def test_a_broken_seed_of_the_operator_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my-seed.xz"
    path.write_bytes(content)
    keeper = keeper_on(tmp_path, path)
    keeper.load()
    assert keeper.loaded is None
    assert "my-seed.xz" in str(keeper.error)
    assert not path.exists()


def test_the_shipped_seed_is_good_and_small() -> None:
    index = seed.read(seed.shipped())
    assert len(index.facts.packages) > 600
    assert index.facts.as_of < datetime.now(UTC)
    assert seed.shipped().stat().st_size < 60_000


def test_a_full_disk_costs_the_file_and_not_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    keeper = keeper_on(folder)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(snapshot, "_write", full)
    keeper.replace(index_of())
    assert keeper.loaded is not None
    assert "disk is full" in str(keeper.error)
    assert list(folder.iterdir()) == [], "nothing is left behind"


def test_facts_of_another_format_are_not_taken_for_ours(tmp_path: Path) -> None:
    import msgspec

    made = index_of()
    other = msgspec.structs.replace(made, facts=msgspec.structs.replace(made.facts, format=1))
    snapshot.write(other, tmp_path / "index.sqlite3")
    with pytest.raises(BrokenSnapshotError, match="format 1"):
        snapshot.read(tmp_path / "index.sqlite3")
