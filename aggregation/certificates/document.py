"""A certificate for people: headings, facts and tables of its page (pure)."""

from datetime import UTC, datetime

from msgspec import Struct

from aggregation.certificates.signing import retraction_text
from aggregation.certificates.statement import BREAKDOWNS, Statement, Summary

STATES = {"retracted": "retracted", "unpublished": "not published"}


class Fact(Struct, frozen=True):
    """Something in a word and a value."""

    name: str
    value: str


class Section(Struct, frozen=True):
    """A heading with a table (``columns`` and ``rows``; the first column names, the others are numbers) or with sentences."""

    title: str
    columns: list[str] = []
    rows: list[list[str]] = []
    sentences: list[str] = []


class Document(Struct, frozen=True):
    """What a person reads of a certificate. ``figures``: what matters most; ``facts``: where it comes from.

    ``verify_at``: where the service shows it and says whether it is valid. ``verify_address``: where any can be checked.
    """

    title: str
    subtitle: str
    figures: list[Fact]
    sections: list[Section]
    facts: list[Fact]
    verify_at: str
    verify_address: str


def document_of(statement: Statement, kid: str) -> Document:
    """Return the document of a statement that the key ``kid`` signed."""
    fewer = f"fewer than {statement.listed_from}"

    def number(people: int | None) -> str:
        return fewer if people is None else f"{people:,}"

    def row(name: str, one: Summary) -> list[str]:
        return [name, number(one.median), f"{one.peak:,}", one.peak_week, f"{one.listed:,}"]

    span = f"{statement.first_week} to {statement.last_week}"
    weeks = [[one.week, STATES.get(one.state) or number(one.people)] for one in statement.weeks]
    sections = [Section("Weekly installs", ["Week", "People"], weeks)]
    dimensions = {dimension.name: dimension for dimension in BREAKDOWNS}
    for breakdown in statement.breakdowns:
        rows = [row(dimensions[breakdown.dimension].reads(one.value), one.summary) for one in breakdown.rows]
        sentences = []
        if breakdown.retracted:
            sentences.append("Some of these numbers were retracted; see below.")
        elif not rows:
            sentences.append(f"Nothing is listed: {fewer} people, in every week.")
        columns = [breakdown.title, "Median", "Peak", "Peak week", "Weeks listed"] if rows else []
        sections.append(Section(breakdown.title, columns, rows, sentences))
    sections.append(Section("How it was counted", sentences=list(statement.how_counted)))
    retracted = [f"{retraction_text(one)} on {one.retracted_at[:10]}: {one.reason}" for one in statement.retractions]
    sections.append(
        Section("Retractions", sentences=retracted or ["None of these numbers had been retracted when this was issued."])
    )
    issued = datetime.fromtimestamp(statement.iat, UTC)
    return Document(
        title=statement.sub,
        subtitle=f"Public weekly installs, {span}",
        figures=[
            Fact("Median of the weeks", number(statement.installs.median)),
            Fact(f"Peak, in {statement.installs.peak_week}", f"{statement.installs.peak:,}"),
            Fact("Weeks listed", f"{statement.installs.listed} of {len(statement.weeks)}"),
        ],
        sections=sections,
        facts=[
            Fact("Issued by", statement.iss),
            Fact("Issued on", f"{issued:%Y-%m-%d %H:%M} UTC"),
            Fact("Certificate", statement.jti),
            Fact("Signed with", f"Ed25519, key {kid}"),
        ],
        verify_at=f"{statement.iss}/certificates/{statement.jti}",
        verify_address=f"{statement.iss}/verify",
    )
