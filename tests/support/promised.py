"""The tests that the privacy page names: did all of them run, and pass?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from update_server.pages.promises import PROMISES

ELSEWHERE = "inside_napari/"
"""Tests that run in an environment of their own, which has napari: `make test-napari`."""


def tests() -> set[str]:
    """Return the promised tests, as ``file::function`` below ``tests/``."""
    return {test for group in PROMISES for promise in group.promises for test in promise.tests}


def missing(outcomes: Mapping[str, str], wanted: Collection[str]) -> list[str]:
    """Return what is wrong with a run, in words. ``outcomes``: passed, skipped or failed, of each test that ran."""
    told = {"skipped": "was skipped", "failed": "failed"}
    return [
        f"{name} {told.get(outcomes.get(name, ''), 'did not run')}" for name in sorted(wanted) if outcomes.get(name) != "passed"
    ]


def is_whole_suite(arguments: Sequence[str]) -> bool:
    """Tell whether a run is one of all tests, from what pytest was told to collect."""
    return list(arguments) in ([], ["tests"])


def worst(before: str | None, now: str) -> str:
    """Return which of two outcomes of a test (of its cases, of its parts) counts."""
    order = ("passed", "skipped", "failed")
    return now if before is None else max(before, now, key=order.index)
