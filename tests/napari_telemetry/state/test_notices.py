"""Notices: the same updates once, anything at most once a day, and the person's choice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from tests.support.client import NOON, Machine

A, B = [("affinder", "0.5.0")], [("affinder", "0.6.0")]


def test_the_same_updates_are_told_once_and_anything_once_a_day(tmp_path: Path) -> None:
    notices = Machine(tmp_path).store.notices
    assert notices.claim(A, NOON)
    assert not notices.claim(A, NOON + timedelta(days=30))
    assert not notices.claim(B, NOON + timedelta(hours=23))
    assert notices.claim(B, NOON + timedelta(hours=25))


def test_of_several_at_once_one_tells(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: machine.store.notices.claim(A, NOON), range(8)))
    assert told.count(True) == 1
