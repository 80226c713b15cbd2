"""The page of a certificate: it says what the statement says, and leads to where it can be verified."""

from __future__ import annotations

import pytest

from aggregation.certificates.document import document_of
from aggregation.certificates.page import fragment_of, page_of
from aggregation.certificates.statement import Statement
from tests.support.certificates import SITE, retraction, statement

ADDRESS = f"{SITE}/certificates/{'0123456789abcdef' * 2}"
RETRACTED = statement({"2026-W38": 20}, retractions=(retraction(plugin="affinder"),))


@pytest.mark.parametrize("one", [statement(), RETRACTED])
def test_the_page_says_all_of_it(one: Statement) -> None:
    page = page_of(one, "the-key", "a.b.c")
    for section in document_of(one, "the-key").sections:
        for words in (section.title, *(cell for row in section.rows for cell in row)):
            assert words in page
    assert "a.b.c" in page
    assert f'<a href="{ADDRESS}">{ADDRESS}</a>' in page, "the address is readable on paper too"
    assert "@media print" in page


def test_nothing_in_a_reason_becomes_markup() -> None:
    odd = retraction(plugin="affinder", reason="<script>alert(1)</script>")
    assert "<script>" not in fragment_of(statement({"2026-W38": 20}, retractions=(odd,)), "the-key")
