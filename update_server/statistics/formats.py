"""Public numbers as JSON for programs, as CSV for spreadsheets and as Parquet for data frames."""

from __future__ import annotations

import msgspec

from aggregation.catalogue import Entry
from aggregation.export import Format, MissingLibraryError, numbers_table, writer_of
from aggregation.numbers import Numbers
from update_server.problems import Problem

MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def encoded(numbers: Numbers, entry: Entry, form: Format) -> bytes:
    """Return the numbers in a format: JSON holds all of them, the others the rows alone. Raises Problem 501."""
    if form is Format.JSON:
        return msgspec.json.encode(numbers)
    try:
        write = writer_of(form)
    except MissingLibraryError as error:
        raise Problem(501, "This server was installed without Parquet: choose format=csv or format=json.") from error
    return write(numbers_table(entry, numbers.rows))
