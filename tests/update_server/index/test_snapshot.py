from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.facts import index_of
from update_server.index import snapshot
from update_server.index.snapshot import BrokenSnapshotError, Origin
from update_server.index.store import SEED, IndexStore


def store_on(folder: Path, seed_path: Path | None = None) -> IndexStore:
    return IndexStore(folder / "index.snapshot", seed_path, 86400)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    """Flip a bit in the last document, which is decompressed only when it is read."""
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        lambda path: path.write_bytes(b"hello"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"napari index 4", b"napari index 9")),
    ],
    ids=["truncated", "flipped bit", "foreign", "empty", "newer"],
)
def test_nothing_is_served_from_a_broken_snapshot(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / snapshot.NAME
    snapshot.write(index_of(), path)
    damage(path)
    with pytest.raises(BrokenSnapshotError, match="Cannot read"):
        snapshot.read(path)
    store = store_on(tmp_path)
    store.load()
    assert store.loaded is None
    assert snapshot.NAME in str(store.error)
    store.replace(index_of())
    assert store.loaded is not None
    assert store.error is None
    assert snapshot.read(path) is not None


def test_temporary_files_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    old, recent = tmp_path / ".new-killed", tmp_path / ".new-running"
    for path in (old, recent):
        path.write_bytes(b"part")
    os.utime(old, (0, 0))
    snapshot.write(index_of(), tmp_path / snapshot.NAME)
    assert {path.name for path in tmp_path.iterdir()} == {snapshot.NAME, recent.name}


def test_a_snapshot_replaced_during_loading_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other, read = store_on(tmp_path), store_on(tmp_path), snapshot.read
    other.replace(index_of())

    def read_and_replace(path: Path) -> snapshot.Index | None:
        found = read(path)
        monkeypatch.setattr(snapshot, "read", read)
        other.replace(index_of())
        return found

    monkeypatch.setattr(snapshot, "read", read_and_replace)
    store.load()
    assert store.load_if_replaced()
    assert not store.load_if_replaced()


def test_nothing_is_served_from_a_broken_seed(tmp_path: Path) -> None:
    path = tmp_path / "my-seed.snapshot"
    path.write_bytes(b"hello")
    store = store_on(tmp_path, path)
    store.load()
    assert store.loaded is None
    assert "my-seed.snapshot" in str(store.error)


def test_the_shipped_seed_is_valid_and_small() -> None:
    index = snapshot.read(SEED)
    assert index is not None
    assert index.origin is Origin.SEED
    assert len(index.facts.packages) > 600
    assert index.facts.as_of < datetime.now(UTC)
    assert SEED.stat().st_size < 85_000


def test_a_full_disk_does_not_affect_the_index_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    store = store_on(folder)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store.replace(index_of())
    assert store.loaded is not None
    assert "No space left" in str(store.error)
    assert list(folder.iterdir()) == [], "nothing is left behind"
