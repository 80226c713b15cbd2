"""Export all public numbers as a Data Package (datapackage.org). The output is deterministic."""

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.publication import RULE as PUBLICATION_RULE
from aggregation.stores.aggregate import AggregateStore, PublicRow
from aggregation.stores.records import Records, Retraction

LICENCE = {
    "name": "CC0-1.0",
    "title": "Creative Commons Zero v1.0",
    "path": "https://creativecommons.org/publicdomain/zero/1.0/",
}

RULE = (
    "Every number counts the people who chose to take part in one ISO week (UTC), each person once. "
    f"{PUBLICATION_RULE} "
    "The share of users who take part is not known, so the numbers are lower bounds, not estimates. A row missing "
    f"from a published week stands for fewer than {LISTED_FROM} people, or for a number in the table `retractions`."
)


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"


MEDIA_TYPES = {Format.JSON: "application/json", Format.CSV: "text/csv"}


class Table(msgspec.Struct, frozen=True):
    """A table of the export. ``columns``: (name, type, description) of each."""

    name: str
    title: str
    columns: list[tuple[str, str, str]]
    rows: list[list[str | int]]


async def export(aggregate: AggregateStore, folder: Path, formats: Sequence[Format]) -> int:
    """Write the package and return the number of exported numbers. Raises OSError."""
    weeks = await aggregate.public_weeks()
    tables = [
        Table(
            "weeks",
            "Published weeks",
            [("week", "string", "ISO week, such as 2026-W47")],
            [[week] for week in weeks],
        ),
        _retractions(await Records(aggregate.engine).retractions()),
    ]
    numbers = 0
    for entry in CATALOGUE:
        rows = await aggregate.numbers(entry, {})
        numbers += len(rows)
        tables.append(numbers_table(entry, rows))
    folder.mkdir(parents=True, exist_ok=True)
    for form in Format:  # an earlier export may contain numbers that were retracted since
        for old in (folder / form).glob(f"*.{form}"):
            old.unlink()
    resources = []
    for table in tables:
        for form in formats:
            data = WRITERS[form](table)
            path = f"{form}/{table.name}.{form}"
            (folder / form).mkdir(exist_ok=True)
            (folder / path).write_bytes(data)
            resources.append(_resource(table, form, path, data))
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "napari-usage",
        "title": "Use of napari and its plugins, counted in people who take part",
        "description": RULE,
        "version": weeks[-1] if weeks else "",
        "licenses": [LICENCE],
        "resources": resources,
    }
    (folder / "datapackage.json").write_bytes(msgspec.json.format(msgspec.json.encode(package), indent=2) + b"\n")
    (folder / "README.md").write_text(_readme(tables, weeks, formats), "utf-8")
    (folder / "LICENSE").write_text(
        "To the extent possible under law, the publisher of these numbers has waived all copyright and related rights "
        "to them:\n"
        f"{LICENCE['title']} ({LICENCE['name']}), {LICENCE['path']}\n",
        "utf-8",
    )
    return numbers


def numbers_table(entry: Entry, rows: Sequence[PublicRow]) -> Table:
    """Return the table of an entry's public numbers."""
    names = [dimension.name for dimension in entry.dimensions]
    columns = [
        ("week", "string", "ISO week, such as 2026-W47"),
        *((dimension.name, "string", dimension.title) for dimension in entry.dimensions),
        ("people", "integer", f"People, at least {LISTED_FROM}, rounded down to a multiple of {ROUNDED_DOWN_TO}"),
    ]
    return Table(
        entry.id, entry.question, columns, [[row.week, *(row.values[name] for name in names), row.people] for row in rows]
    )


def _retractions(found: Sequence[Retraction]) -> Table:
    columns = [
        ("entry", "string", "Entry with retracted numbers"),
        ("of", "string", "Values of the retracted numbers by dimension, as JSON; {} means all"),
        ("first_week", "string", "First retracted week"),
        ("last_week", "string", "Last retracted week"),
        ("reason", "string", "Reason"),
        ("retracted_at", "string", "Time of the retraction (ISO, UTC)"),
    ]
    rows: list[list[str | int]] = [
        [
            one.entry,
            msgspec.json.encode(one.of, order="sorted").decode(),
            one.first_week,
            one.last_week,
            one.reason,
            one.retracted_at,
        ]
        for one in found
    ]
    return Table("retractions", "Retracted numbers, with reasons", columns, rows)


def _resource(table: Table, form: Format, path: str, data: bytes) -> dict[str, Any]:
    fields = [{"name": name, "type": kind, "description": description} for name, kind, description in table.columns]
    return {
        "name": f"{table.name}-{form}",
        "title": table.title,
        "path": path,
        "format": str(form),
        "mediatype": MEDIA_TYPES[form],
        "bytes": len(data),
        "hash": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "schema": {"fields": fields},
    }


def _csv(table: Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _, _ in table.columns])
    writer.writerows(table.rows)
    return text.getvalue().encode()


def _json(table: Table) -> bytes:
    names = [name for name, _, _ in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    return msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n"


def _readme(tables: Sequence[Table], weeks: Sequence[str], formats: Sequence[Format]) -> str:
    span = f"Weeks {weeks[0]} to {weeks[-1]}." if weeks else "No week has been published yet."
    lines = [
        "# Use of napari and its plugins",
        "",
        f"{span} {RULE}",
        "",
        f"Licence: {LICENCE['title']} ({LICENCE['name']}). `datapackage.json` describes the files in machine-readable form.",
        "",
        f"Each table is available as {' and '.join(str(form) for form in formats)}, in the folder of that name.",
        "",
    ]
    for table in tables:
        lines += [f"## {table.name}", "", table.title, "", "| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {kind} | {description} |" for name, kind, description in table.columns]
        lines.append("")
    return "\n".join(lines)


WRITERS: dict[Format, Callable[[Table], bytes]] = {Format.CSV: _csv, Format.JSON: _json}
