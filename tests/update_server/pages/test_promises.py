"""Each promise on the privacy page has tests; a full run fails if one of them did not pass."""

from __future__ import annotations

from tests.support import promises
from update_server.pages.promises import PROMISES


def test_every_promise_has_a_test_and_every_marker_a_promise() -> None:
    ids = [id_ for texts in PROMISES.values() for id_ in texts]
    assert len(set(ids)) == len(ids)
    assert set(promises.tests_by_promise()) == set(ids)


def test_the_promises_page_in_docs_is_current() -> None:
    assert (promises.TESTS.parent / "docs" / "promises.md").read_text("utf-8") == promises.page(), "run make docs"


def test_a_full_run_fails_if_a_promise_test_did_not_pass() -> None:
    held = dict.fromkeys((test for tests in promises.tests_by_promise().values() for test in tests), "passed")
    one = next(test for test in held if not test.startswith(promises.IN_NAPARI))
    assert promises.unverified(held, ["tests"]) == []
    assert any(f"{one} skipped" in line for line in promises.unverified(held | {one: "skipped"}, ["tests"]))
    assert promises.unverified(held | {one: "skipped"}, ["tests"], may_skip=True) == []
    del held[one]
    assert any(f"{one} did not run" in line for line in promises.unverified(held, ["tests"]))
    assert promises.unverified(held, ["tests/update_server"]) == []
