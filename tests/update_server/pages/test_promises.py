"""Tests cover each promise of the privacy page; a run in which one of them did not pass fails."""

from __future__ import annotations

from tests.support import promises
from update_server.pages.promises import PROMISES


def test_every_promise_is_held_by_a_test_and_every_marker_names_a_promise() -> None:
    ids = [id_ for texts in PROMISES.values() for id_ in texts]
    assert len(set(ids)) == len(ids)
    assert set(promises.bound()) == set(ids)


def test_the_page_in_docs_is_the_generated_one() -> None:
    assert (promises.TESTS.parent / "docs" / "promises.md").read_text("utf-8") == promises.page(), "make docs"


def test_a_run_of_everything_fails_where_a_promised_test_did_not_pass() -> None:
    held = dict.fromkeys((test for tests in promises.bound().values() for test in tests), "passed")
    one = next(test for test in held if not test.startswith(promises.IN_NAPARI))
    assert promises.unverified(held, ["tests"]) == []
    assert any(f"{one} skipped" in line for line in promises.unverified(held | {one: "skipped"}, ["tests"]))
    assert promises.unverified(held | {one: "skipped"}, ["tests"], may_skip=True) == []
    del held[one]
    assert any(f"{one} did not run" in line for line in promises.unverified(held, ["tests"]))
    assert promises.unverified(held, ["tests/update_server"]) == []
