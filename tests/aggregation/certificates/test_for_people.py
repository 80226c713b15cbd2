"""The page and the PDF: they say what the statement says, and lead to where it can be checked."""

from __future__ import annotations

import io

import pytest
from pypdf import PdfReader

from aggregation.certificates.document import document_of
from aggregation.certificates.page import fragment_of, page_of
from aggregation.certificates.pdf import pdf_of
from aggregation.certificates.statement import Statement
from tests.support.certificates import SITE, retraction, statement

ADDRESS = f"{SITE}/certificates/{'0123456789abcdef' * 2}"
RETRACTED = statement({"2026-W38": 20}, retractions=(retraction(plugin="affinder"),))


def text_of(pdf: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


@pytest.mark.parametrize("one", [statement(), RETRACTED])
def test_the_pdf_says_all_of_it(one: Statement) -> None:
    text = text_of(pdf_of(one, "the-key", "a.b.c"))
    for section in document_of(one, "the-key").sections:
        for words in (section.title, *section.sentences, *(cell for row in section.rows for cell in row)):
            assert " ".join(words.split()) in text
    for words in ("affinder", "2026-W38 to 2026-W41", "Median of the weeks", SITE, "the-key", "it can be forged"):
        assert words in text


def test_the_pdf_brings_the_signed_statement_and_a_link_to_check_it() -> None:
    reader = PdfReader(io.BytesIO(pdf_of(statement(), "the-key", "a.b.c")))
    assert [content for contents in reader.attachments.values() for content in contents] == [b"a.b.c"]
    notes = [note.get_object() for page in reader.pages for note in page.get("/Annots", [])]
    links = {note["/A"]["/URI"] for note in notes if "/A" in note}
    assert links == {ADDRESS}
    assert reader.metadata is not None
    assert "affinder" in str(reader.metadata.title)


def test_the_same_certificate_gives_the_same_pdf() -> None:
    assert pdf_of(statement(), "the-key", "a.b.c") == pdf_of(statement(), "the-key", "a.b.c")


def test_a_long_one_goes_on_over_pages() -> None:
    weeks = {f"2024-W{number:02}": 10 * number for number in range(1, 53)}
    one = statement(weeks, first="2024-W01", last="2026-W41", published=tuple(weeks))
    reader = PdfReader(io.BytesIO(pdf_of(one, "the-key", "a.b.c")))
    assert len(reader.pages) > 1
    assert "2026-W41" in text_of(pdf_of(one, "the-key", "a.b.c"))


def test_a_reason_in_another_script_does_not_stop_the_pdf() -> None:
    odd = retraction(plugin="affinder")
    odd.reason = "偽の報告 – it was “forged”"
    assert "forged" in text_of(pdf_of(statement({"2026-W38": 20}, retractions=(odd,)), "the-key", "a.b.c"))


@pytest.mark.parametrize("one", [statement(), RETRACTED])
def test_the_page_says_all_of_it(one: Statement) -> None:
    page = page_of(one, "the-key", "a.b.c")
    for section in document_of(one, "the-key").sections:
        for words in (section.title, *(cell for row in section.rows for cell in row)):
            assert words in page
    assert "a.b.c" in page
    assert f'href="{ADDRESS}"' in page
    assert "<svg" in page


def test_nothing_in_a_reason_becomes_markup() -> None:
    odd = retraction(plugin="affinder")
    odd.reason = "<script>alert(1)</script>"
    assert "<script>" not in fragment_of(statement({"2026-W38": 20}, retractions=(odd,)), "the-key")


def test_the_code_leads_to_where_it_can_be_checked() -> None:
    assert document_of(statement(), "the-key").verify_at == ADDRESS
