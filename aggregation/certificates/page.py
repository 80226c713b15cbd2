"""A certificate as HTML: a fragment for the service's pages, and a page of its own, for a file."""

from jinja2 import Environment, PackageLoader, select_autoescape

from aggregation.certificates.document import document_of
from aggregation.certificates.statement import Statement

_templates = Environment(
    loader=PackageLoader("aggregation.certificates"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
)


def fragment_of(statement: Statement, kid: str) -> str:
    """Return the certificate as HTML without a head, for a page that brings its own style."""
    return _templates.get_template("fragment.html").render(document=document_of(statement, kid))


def page_of(statement: Statement, kid: str, token: str) -> str:
    """Return the certificate as an HTML file of its own, with the signed statement in it."""
    return _templates.get_template("alone.html").render(document=document_of(statement, kid), token=token)
