"""Marks of files: what changed is noticed, also within one tick of a file system's clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from napari_update_hook.plugin import marks as module
from napari_update_hook.plugin.marks import Marks

LONG_AGO = 1_600_000_000


def aged(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    return aged(path)


def taken(*files: Path) -> Marks:
    made = Marks()
    made.take(files)
    return made


def test_what_nobody_took_note_of_may_have_changed(file: Path) -> None:
    assert Marks().may_have_changed([file])
    made = taken(file)
    made.forget()
    assert made.may_have_changed([file])


def test_a_file_that_nobody_touches_has_not_changed(file: Path, tmp_path: Path) -> None:
    assert not taken(file, tmp_path / "none").may_have_changed([file, tmp_path / "none"])


def test_what_comes_and_goes_is_noticed(file: Path) -> None:
    with_it = taken(file)
    file.unlink()
    assert with_it.may_have_changed([file])
    without = taken(file)
    file.write_bytes(b"one")
    assert without.may_have_changed([file])


def test_another_file_of_the_same_size_and_time_is_noticed(tmp_path: Path, file: Path) -> None:
    before = taken(file)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    aged(other).rename(file)
    assert before.may_have_changed([file])


def test_a_second_change_in_the_same_tick_is_noticed_once_the_tick_is_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    made = taken(file)
    file.write_bytes(b"two")
    aged(file)  # so that inode, size and time are the same
    assert not made.may_have_changed([file])
    now += module.SETTLES_AFTER_S
    assert made.may_have_changed([file])
    made.take([file])
    now += 3600
    assert not made.may_have_changed([file]), "once is enough"
