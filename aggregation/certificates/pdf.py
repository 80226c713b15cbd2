"""A certificate as a PDF of A4 pages, through fpdf2, with a QR code by segno. The JWS is attached to it."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import segno
from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from aggregation.certificates.document import Document, Section, document_of
from aggregation.certificates.statement import Statement

FONT = "helvetica"
INK, QUIET, ACCENT, LINE = (27, 39, 51), (81, 96, 110), (0, 98, 155), (211, 220, 228)
CODE_MM = 34
WEEKS_SIDE_BY_SIDE = 3


class _Pages(FPDF):
    def __init__(self, document: Document) -> None:
        super().__init__(format="A4")
        self._document = document
        self.set_margins(20, 18, 20)
        self.set_auto_page_break(True, 20)

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font(FONT, size=8)
        self.set_text_color(*QUIET)
        self.cell(0, 5, _latin(f"Check it at {self._document.verify_at}"), link=self._document.verify_at)
        self.set_x(-40)
        self.cell(20, 5, f"{self.page_no()} / {{nb}}", align="R")


def pdf_of(statement: Statement, kid: str, token: str) -> bytes:
    """Return the PDF. The same certificate gives the same bytes."""
    document = document_of(statement, kid)
    pages = _Pages(document)
    pages.set_title(f"{document.title}: {document.subtitle}")
    pages.set_author(statement.iss)
    pages.set_lang("en")
    pages.set_creation_date(datetime.fromtimestamp(statement.iat, UTC))
    pages.embed_file(
        bytes=token.encode(),
        basename=f"{statement.jti}.jws",
        desc="The signed statement",
        creation_date=datetime.fromtimestamp(statement.iat, UTC),
        modification_date=datetime.fromtimestamp(statement.iat, UTC),
    )
    pages.add_page()
    _head(pages, document)
    for section in document.sections:
        _section(pages, section)
    _facts(pages, document)
    return bytes(pages.output())


def _head(pages: FPDF, document: Document) -> None:
    code = io.BytesIO()
    segno.make(document.verify_at, error="m").save(code, kind="png", scale=8, border=1)
    left = pages.w - pages.r_margin - CODE_MM
    pages.image(code, x=left, y=16, w=CODE_MM, h=CODE_MM, link=document.verify_at, alt_text=f"QR code: {document.verify_at}")
    width = left - pages.l_margin - 6
    _text(pages, "Certificate of public numbers", 10, QUIET, width=width)
    _text(pages, document.title, 24, INK, style="B", width=width, height=11)
    _text(pages, document.subtitle, 12, INK, width=width)
    pages.set_y(max(pages.get_y(), 16 + CODE_MM) + 4)
    each = pages.epw / len(document.figures)
    top = pages.get_y()
    for place, figure in enumerate(document.figures):
        pages.set_xy(pages.l_margin + place * each, top)
        _text(pages, figure.value, 18, ACCENT, style="B", width=each, height=9)
        pages.set_x(pages.l_margin + place * each)
        _text(pages, figure.name, 9, QUIET, width=each)
    pages.ln(2)


def _section(pages: FPDF, section: Section) -> None:
    if pages.will_page_break(24):
        pages.add_page()
    pages.ln(2.5)
    _text(pages, section.title, 12, INK, style="B", height=7)
    if section.rows:
        _table(pages, section)
    for sentence in section.sentences:
        _text(pages, sentence, 9, INK, height=4.4)
        pages.ln(0.8)


def _table(pages: FPDF, section: Section) -> None:
    columns, rows, width = section.columns, section.rows, len(section.columns)
    widths: tuple[int, ...] = (2, *(1,) * (width - 1))
    if width == 2:  # narrow and long: several weeks beside each other, with a gap between
        columns, rows = [*columns, ""] * (WEEKS_SIDE_BY_SIDE - 1) + columns, _side_by_side(rows)
        widths = (3, 4, 1) * (WEEKS_SIDE_BY_SIDE - 1) + (3, 4)
        width = 3
    pages.set_font(FONT, size=9)
    pages.set_text_color(*INK)
    pages.set_draw_color(*LINE)
    with pages.table(
        borders_layout="HORIZONTAL_LINES",
        headings_style=FontFace(emphasis="BOLD", color=QUIET),
        line_height=4.8,
        col_widths=widths,
        text_align=tuple("LEFT" if place % width == 0 else "RIGHT" for place in range(len(columns))),
    ) as table:
        for row in [columns, *rows]:
            table.row([_latin(cell) for cell in row])


def _side_by_side(rows: list[list[str]]) -> list[list[str]]:
    """Rows of two cells as fewer rows of more, read down and then to the right, with an empty cell between."""
    height = -(-len(rows) // WEEKS_SIDE_BY_SIDE)
    padded = rows + [["", ""]] * (height * WEEKS_SIDE_BY_SIDE - len(rows))
    return [
        [cell for column in range(WEEKS_SIDE_BY_SIDE) for cell in [*padded[column * height + line], ""]][:-1]
        for line in range(height)
    ]


def _facts(pages: FPDF, document: Document) -> None:
    if pages.will_page_break(40):
        pages.add_page()
    pages.ln(4)
    pages.set_draw_color(*LINE)
    pages.line(pages.l_margin, pages.get_y(), pages.w - pages.r_margin, pages.get_y())
    pages.ln(3)
    for fact in document.facts:
        _text(pages, f"{fact.name}: {fact.value}", 9, QUIET, height=4.4)
    pages.ln(1)
    _text(
        pages,
        "Don't trust this paper: it can be forged. Scan the code, or check the attached .jws file at "
        f"{document.verify_address}.",
        9,
        INK,
        style="B",
    )


def _text(
    pages: FPDF,
    text: str,
    size: float,
    color: tuple[int, int, int],
    *,
    style: str = "",
    width: float = 0,
    height: float = 5,
) -> None:
    pages.set_font(FONT, style=style, size=size)
    pages.set_text_color(*color)
    pages.multi_cell(width, height, _latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _latin(text: str) -> str:
    """The text as the PDF's own fonts have it: anything beyond Latin-1, as in somebody's reason, is spelt out."""
    return text.encode("latin-1", "backslashreplace").decode("latin-1")
