"""Public numbers as JSON for programs, as CSV for spreadsheets and as Parquet for data frames."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from aggregation.catalogue import Entry
from aggregation.export import Format, MissingLibraryError, numbers_table, writer_of
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import PublicRetraction
from update_server.problems import Problem

MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
}


class Numbers(Struct):
    """Public numbers of one entry. Cells with fewer people than ``listed_from`` have no row; ``next`` is null at the end.

    ``retractions``: what of these numbers was taken back, and why.
    """

    entry: str
    question: str
    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    rows: list[PublicRow]
    retractions: list[PublicRetraction]
    next: str | None


def encoded(numbers: Numbers, entry: Entry, form: Format) -> bytes:
    """Return the numbers in a format: JSON holds all of them, the others the rows alone. Raises Problem 501."""
    if form is Format.JSON:
        return msgspec.json.encode(numbers)
    try:
        write = writer_of(form)
    except MissingLibraryError as error:
        raise Problem(501, "This server was installed without Parquet: choose format=csv or format=json.") from error
    return write(numbers_table(entry, numbers.rows))
