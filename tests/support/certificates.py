"""Statements to sign, and ways to tamper with certificates."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from aggregation.catalogue import PLATFORM, PLUGIN, PYTHON, Dimension
from aggregation.certificates.statement import Statement, make_statement
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import Retraction

ISSUED = datetime(2026, 11, 20, 12, tzinfo=UTC)
SITE = "https://updates.example.org"


def rows(numbers: dict[str, int], dimension: Dimension | None = None, value: str = "") -> list[PublicRow]:
    values = {PLUGIN.name: "affinder"} | ({dimension.name: value} if dimension else {})
    return [PublicRow(week, values, people) for week, people in numbers.items()]


def statement(
    numbers: dict[str, int] | None = None,
    *,
    first: str = "2026-W38",
    last: str = "2026-W41",
    published: tuple[str, ...] = ("2026-W38", "2026-W39", "2026-W40"),
    by_python: dict[str, dict[str, int]] | None = None,
    retractions: tuple[Retraction, ...] = (),
) -> Statement:
    by_python = by_python or {"3.11": {"2026-W39": 10}}
    return make_statement(
        site=SITE,
        number="0123456789abcdef" * 2,
        now=ISSUED,
        plugin="affinder",
        first=first,
        last=last,
        published=published,
        rows={
            None: rows(numbers if numbers is not None else {"2026-W38": 20, "2026-W39": 35}),
            PYTHON: [row for value, weeks in by_python.items() for row in rows(weeks, PYTHON, value)],
            PLATFORM: [],
        },
        retractions=retractions,
    )


def retraction(
    entry: str = "plugins", when: datetime = ISSUED, week: str = "2026-W39", reason: str = "Forged reports", **of: str
) -> Retraction:
    return Retraction(entry, of, week, week, reason, f"{when:%Y-%m-%dT%H:%M:%SZ}")


def part(token: str, place: int) -> dict[str, Any]:
    """Decode the header (0) or payload (1) of a certificate."""
    text = token.split(".")[place]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return decoded


def altered(token: str, place: int, **changes: Any) -> str:
    """Tamper with the header or payload."""
    parts = token.split(".")
    parts[place] = base64.urlsafe_b64encode(json.dumps(part(token, place) | changes).encode()).decode().rstrip("=")
    return ".".join(parts)
