"""Marks of files: what changed is noticed, also within one tick of a file system's clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
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


def test_a_file_that_nobody_touches_keeps_its_marks(file: Path) -> None:
    assert not Marks.of([file]).may_differ(Marks.of([file]))


def test_a_file_that_is_not_there_has_marks_too(tmp_path: Path) -> None:
    assert not Marks.of([tmp_path / "none"]).may_differ(Marks.of([tmp_path / "none"]))


def test_what_comes_and_goes_is_noticed(tmp_path: Path, file: Path) -> None:
    with_it, path = Marks.of([file]), file
    path.unlink()
    without = Marks.of([file])
    assert with_it.may_differ(without)
    assert without.may_differ(with_it)


def test_another_file_of_the_same_size_and_time_is_noticed(tmp_path: Path, file: Path) -> None:
    before = Marks.of([file])
    other = tmp_path / "other"
    other.write_bytes(b"two")
    aged(other).rename(file)
    assert before.may_differ(Marks.of([file]))


def test_after_a_change_a_second_one_in_the_same_tick_may_have_followed(file: Path) -> None:
    file.write_bytes(b"two")
    just_changed = Marks.of([file])
    assert not just_changed.is_settled
    assert just_changed.may_differ(just_changed)


def test_a_clock_that_is_wrong_by_years_settles(file: Path) -> None:
    os.utime(file, (4_000_000_000, 4_000_000_000))
    assert Marks.of([file]).is_settled
