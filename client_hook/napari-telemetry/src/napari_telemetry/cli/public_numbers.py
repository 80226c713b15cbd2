"""``stats``: public numbers of napari or of a plugin, as a table."""

from __future__ import annotations

import csv
import os
import sys
from typing import Annotated

import typer
from rich.table import Table

from napari_telemetry.cli.options import JsonOption, ServerOption, print_json
from napari_telemetry.settings import settings_from
from napari_telemetry.statistics import WEEKS_SHOWN, Numbers, fetch, pivot
from napari_telemetry.terminal import counted, out, plain, say, waiting
from napari_telemetry.transport import Transport

DEADLINE_S = 60.0
WEEK_WIDTH = 11
"""Characters of a column: a week, and what stands between two."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stats)


def stats(
    name: Annotated[str, typer.Argument(help="A plugin, or napari itself.")] = "napari",
    by: Annotated[
        str | None,
        typer.Option("--by", help="Tell people apart by version, python, napari, platform, … A wrong one lists all."),
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First week, such as 2026-W40.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last week.")] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all weeks as CSV.")] = False,
) -> None:
    """Show public numbers: how many people who take part have a plugin, or use napari, by week.

    It needs no consent and sends nothing but the question. The last 8 weeks are shown, or those that --from and --to name.
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose --json or --csv", param_hint="--csv")
    settings = settings_from(os.environ, server)
    with waiting("Asking for the numbers"), Transport(DEADLINE_S) as transport:
        numbers = fetch(transport, settings.server, name, by, first, last)
    if as_json:
        print_json(numbers)
    elif as_csv:
        _print_csv(numbers)
    else:
        _print(numbers, None if first or last else WEEKS_SHOWN)


def _print_csv(numbers: Numbers) -> None:
    titles = list(dict.fromkeys(name for row in numbers.rows for name in row.values))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["week", *titles, "people"])
    writer.writerows([row.week, *(row.values.get(name, "") for name in titles), row.people] for row in numbers.rows)


def _print(numbers: Numbers, most_weeks: int | None) -> None:
    say(numbers.question)
    if not numbers.weeks:
        say("No week is published yet.")
        return
    table = pivot(numbers, most_weeks)
    if not table.lines:
        span = f"{table.weeks[0]} to {table.weeks[-1]}"
        say(f"Nothing is listed from {span}: fewer than {numbers.listed_from} people, or nobody.")
        return
    values = [values for values, _ in table.lines]
    heads = [max(len(title), *(len(one[number]) for one in values)) + 3 for number, title in enumerate(table.titles)]
    room = out.width - sum(heads) - 1
    fitting = max(1, room // WEEK_WIDTH)
    shown = Table()
    for title in table.titles:
        shown.add_column(plain(title), no_wrap=True)
    for week in table.weeks[-fitting:]:
        shown.add_column(plain(week), justify="right", no_wrap=True)
    for names, counts in table.lines:
        cells = [f"{count:,}" if count is not None else f"<{numbers.listed_from}" for count in counts[-fitting:]]
        shown.add_row(*(plain(name) for name in names), *cells)
    out.print(shown)
    if left_out := len(table.weeks[:-fitting]):
        say(f"{counted(left_out, 'earlier week')} found no room: --csv has all.")
    say(
        f"People who take part, each once a week; rounded down to a multiple of {numbers.rounded_down_to}. "
        f"<{numbers.listed_from}: fewer than {numbers.listed_from}, zero included, or taken back."
    )
