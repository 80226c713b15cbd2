"""Each promise of the privacy page names tests; each of them is there, ran, and passed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import promised
from update_server.pages.promises import PROMISES, markdown

TESTS = Path(__file__).parents[2]
NAMED = promised.tests()


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_test_that_holds_a_promise_is_there(name: str) -> None:
    file, function = name.split("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == function]
    assert len(found) == 1, f"{name} is gone: the promise needs another test, or must not be made"
    (one,) = found
    assert [node for node in ast.walk(one) if isinstance(node, ast.Assert | ast.With | ast.Call)]
    marks = [ast.unparse(decorator) for decorator in one.decorator_list]
    assert not [mark for mark in marks if "skip" in mark or "xfail" in mark], "a promise is not skipped"


def test_the_page_in_docs_is_the_one_that_is_made() -> None:
    assert (TESTS.parent / "docs" / "promises.md").read_text("utf-8") == markdown(), "make docs"


def test_every_promise_has_a_test_and_none_is_made_twice() -> None:
    texts = [promise.text for group in PROMISES for promise in group.promises]
    assert len(set(texts)) == len(texts)
    assert all(promise.tests for group in PROMISES for promise in group.promises)


def test_a_run_of_everything_in_which_a_promised_test_did_not_pass_is_a_failure(tmp_path: Path) -> None:
    one, other = sorted(NAMED)[:2]
    assert promised.missing({one: "passed", other: "passed"}, {one, other}) == []
    assert promised.missing({one: "passed"}, {one, other}) == [f"{other} did not run"]
    assert promised.missing({one: "passed", other: "skipped"}, {one, other}) == [f"{other} was skipped"]
    assert promised.missing({one: "failed", other: "passed"}, {one, other}) == [f"{one} failed"]


def test_only_a_run_of_everything_is_asked_for_all_promises() -> None:
    assert promised.is_whole_suite(["tests"])
    assert not promised.is_whole_suite(["tests/update_server"])
