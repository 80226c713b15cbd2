from __future__ import annotations

import errno
import lzma
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.facts import facts_of, index_of
from update_server.index import seed, snapshot
from update_server.index.snapshot import BrokenSnapshotError
from update_server.index.store import IndexStore


def store_on(folder: Path, seed_path: Path | None = None) -> IndexStore:
    return IndexStore(folder / "index.snapshot", seed_path, 86400)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda path: path.write_bytes(b"hello"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"napari index 3", b"napari index 9")),
    ],
    ids=["cut off", "foreign", "empty", "newer"],
)
def test_nothing_is_served_from_a_broken_snapshot(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / snapshot.NAME
    snapshot.write(index_of(), path)
    damage(path)
    with pytest.raises(BrokenSnapshotError, match="Cannot read"):
        snapshot.read(path)
    keeper = store_on(tmp_path)
    keeper.load()
    assert keeper.loaded is None
    assert snapshot.NAME in str(keeper.error)
    keeper.replace(index_of())
    assert keeper.loaded is not None
    assert keeper.error is None
    assert snapshot.read(path) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", seed.pack(facts_of())[:100], lzma.compress(b"{}"), lzma.compress(b" " * (seed.MAX_SIZE + 1), preset=0)],
    ids=["empty", "no archive", "cut off", "another form", "a bomb"],
)
def test_nothing_is_served_from_a_broken_seed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my-seed.xz"
    path.write_bytes(content)
    keeper = store_on(tmp_path, path)
    keeper.load()
    assert keeper.loaded is None
    assert "my-seed.xz" in str(keeper.error)


def test_the_shipped_seed_is_good_and_small() -> None:
    index = seed.read(seed.shipped())
    assert len(index.facts.packages) > 600
    assert index.facts.as_of < datetime.now(UTC)
    assert seed.shipped().stat().st_size < 60_000


def test_a_full_disk_costs_the_file_and_not_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    keeper = store_on(folder)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    keeper.replace(index_of())
    assert keeper.loaded is not None
    assert "No space left" in str(keeper.error)
    assert list(folder.iterdir()) == [], "nothing is left behind"


def test_facts_of_another_format_are_not_taken_for_ours(tmp_path: Path) -> None:
    import msgspec

    made = index_of()
    other = msgspec.structs.replace(made, facts=msgspec.structs.replace(made.facts, format=1))
    snapshot.write(other, tmp_path / "index.snapshot")
    with pytest.raises(BrokenSnapshotError, match="format 1"):
        snapshot.read(tmp_path / "index.snapshot")
