"""A certificate as HTML: a fragment for the service's pages, and a page that stands alone, for a file."""

from __future__ import annotations

import segno
from jinja2 import Environment, PackageLoader, select_autoescape

from aggregation.certificates.document import Document, document_of
from aggregation.certificates.statement import Statement

_templates = Environment(
    loader=PackageLoader("aggregation.certificates"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
)


def fragment_of(statement: Statement, kid: str) -> str:
    """Return the certificate as HTML without a head, for a page that brings its own style."""
    document = document_of(statement, kid)
    return _templates.get_template("fragment.html").render(document=document, code=_code(document))


def page_of(statement: Statement, kid: str, token: str) -> str:
    """Return the certificate as an HTML file of its own, with the signed statement in it."""
    document = document_of(statement, kid)
    return _templates.get_template("alone.html").render(document=document, code=_code(document), token=token)


def _code(document: Document) -> str:
    """The QR code as SVG: black on white, because scanners want it so in the dark too."""
    address = document.verify_at
    return str(
        segno.make(address, error="m").svg_inline(scale=4, border=2, dark="#000", light="#fff", title=f"QR code: {address}")
    )
