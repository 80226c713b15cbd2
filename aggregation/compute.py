"""From a catalogue entry to its cells, by one SQL statement an entry.

The database counts; only cells that will be listed come over the wire. The statements differ between SQLite and PostgreSQL in
how a JSON list is laid out as rows, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregation.catalogue import LEVEL_COLUMN, MOST_DIMENSIONS, Dimension, Entry
from aggregation.publication import LISTED_FROM, public_number
from aggregation.stores.aggregate import Cell
from aggregation.stores.raw import REPORTS


def statement(entry: Entry, week: str, dialect: str) -> sa.Select[*tuple[Any, ...]]:
    """Return the query for the cells of ``entry`` in ``week`` that are listed: its values in order, then the exact number.

    ``dialect``: ``"sqlite"`` or ``"postgresql"``. At most one of the entry's fields is a list or a mapping.
    """
    document = REPORTS.c.document
    laid_out = {dimension.field: dimension for dimension in entry.dimensions if dimension.part is not None}
    if len(laid_out) > 1:
        raise ValueError(f"entry {entry.id} lays out more than one field")
    source: sa.FromClause = REPORTS
    items: Any = None
    for dimension in laid_out.values():
        items = _items(document, dimension, dialect)
        source = REPORTS.join(items, sa.true())
    columns = [
        _value(document, items, dimension, dialect).label(f"value_{number}")
        for number, dimension in enumerate(entry.dimensions, 1)
    ]
    people = sa.func.count(sa.distinct(REPORTS.c.identifier))
    query = sa.select(*columns, people.label("people")).select_from(source).where(REPORTS.c.week == week)
    if entry.only_where:
        query = query.where(document[entry.only_where].as_boolean())
    return query.group_by(*columns).having(people >= LISTED_FROM)


def _items(document: Any, dimension: Dimension, dialect: str) -> Any:
    """The list or mapping of a field as rows."""
    if dialect == "sqlite":
        return sa.func.json_each(document, f"$.{dimension.field}").table_valued("key", "value", name="items")
    part = document[dimension.field]
    if dimension.part in ("@key", "@value"):
        return sa.func.jsonb_each_text(part).table_valued("key", "value", name="items").render_derived()
    return (
        sa.func.jsonb_array_elements(part)
        .table_valued(sa.column("value", REPORTS.c.document.type), name="items")
        .render_derived()
    )


def _value(document: Any, items: Any, dimension: Dimension, dialect: str) -> sa.ColumnElement[str]:
    if dimension.field == LEVEL_COLUMN:
        return REPORTS.c.level
    if dimension.part is None:
        value = document[dimension.field].as_string()
    elif dimension.part == "@key":
        value = items.c.key
    elif dimension.part == "@value":
        value = items.c.value
    elif dialect == "sqlite":
        value = sa.func.json_extract(items.c.value, f"$.{dimension.part}")
    else:
        value = items.c.value.op("->>")(dimension.part)
    return sa.cast(value, sa.String)


async def count_reports(connection: AsyncConnection, week: str) -> int:
    """Return how many reports there are of ``week``, for the run record."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(REPORTS.c.week == week)) or 0)


async def cells_of(connection: AsyncConnection, entry: Entry, week: str) -> Iterable[Cell]:
    """Return the public cells of an entry for a week."""
    width = len(entry.dimensions)
    rows = await connection.execute(statement(entry, week, connection.dialect.name))
    cells = []
    for *values, people in rows:
        number = public_number(people)
        if number is not None:
            padded = [*values, *[""] * (MOST_DIMENSIONS - width)]
            cells.append(
                Cell(entry=entry.id, week=week, value_1=padded[0], value_2=padded[1], value_3=padded[2], people=number)
            )
    return cells
