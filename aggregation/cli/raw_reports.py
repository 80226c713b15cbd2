"""Commands for raw reports: purge, forget, inspect."""

import json
from contextlib import aclosing
from typing import Annotated

import typer
from rich.syntax import Syntax

from aggregation.cli.opening import effective_time, run, stores
from aggregation.cli.options import EXIT_USAGE, JsonOption, NowOption, UsageError, validate_reason, validate_week
from aggregation.cli.output import console, errors, print_json, progress_bar, quantity, were
from aggregation.status import oldest_after_purge, purge
from aggregation.stores.records import Records
from aggregation.stores.reports import RawRow, Report, report_of

MAX_INSPECTED = 100


app = typer.Typer()


@app.command("purge")
def purge_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the raw reports of weeks that began 60 days ago or earlier."""
    moment = effective_time(now)
    oldest = oldest_after_purge(moment)

    async def work() -> dict[str, int]:
        async with stores() as (raw, _):
            weeks = await raw.count([week for week in await raw.weeks() if week < oldest])
            if not dry_run:
                with progress_bar("deleting", unit=None):
                    await purge(raw, moment)
            return weeks

    weeks = run(work)
    if as_json:
        print_json({"dry_run": dry_run, "oldest_week_kept": oldest, "reports": sum(weeks.values()), "weeks": weeks})
        return
    for week, reports in weeks.items() if dry_run else ():
        console.print(f"{week}: {quantity(reports, 'report')}")
    total = sum(weeks.values())
    would = "would be" if dry_run else were(total)
    console.print(f"{quantity(total, 'raw report')} from before {oldest} {would} deleted.")


@app.command()
def forget(identifier: Annotated[str, typer.Argument(help="32 hex digits, from `napari-telemetry id`.")]) -> None:
    """Delete all raw reports of an identifier, for deletion requests by e-mail."""
    if len(identifier) != 32 or set(identifier) - set("0123456789abcdef"):
        errors.print("[red]An identifier has 32 digits from 0 to 9 and a to f. `napari-telemetry id` shows it.[/red]")
        raise typer.Exit(EXIT_USAGE)

    async def work() -> int:
        async with stores() as (raw, _):
            return await raw.delete(identifier)

    deleted = run(work)
    console.print(f"{quantity(deleted, 'report')} {were(deleted)} deleted.")


@app.command()
def inspect(
    reason: Annotated[str, typer.Option("--reason", help="Reason, as a sentence. The privacy page shows it permanently.")],
    week: Annotated[str | None, typer.Option("--week", help="ISO week. Default: the newest.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_INSPECTED, help="Maximum number of reports.")] = 10,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show some raw reports without their identifiers. The privacy page shows the time and the reason.

    The inspection is recorded first: if that fails, nothing is shown.
    """
    moment = effective_time(now)

    async def work() -> list[Report]:
        why = validate_reason(reason)
        validate_week(week)
        async with stores() as (raw, aggregate):
            weeks = await raw.weeks()
            if week is not None and week not in weeks:
                raise UsageError(f"There are no raw reports of {week}. Weeks with reports: {', '.join(weeks) or 'none'}.")
            if not weeks:
                raise UsageError("There are no raw reports. Nothing was recorded.")
            chosen = week or weeks[-1]
            await Records(aggregate.engine).record_inspection(chosen, limit, why, moment)
            async with aclosing(raw.rows(chosen)) as parts:
                first: list[RawRow] = await anext(parts, [])  # key order is random
            return [report_of(chosen, row) for row in first[:limit]]

    reports = run(work)
    shown = [
        {"week": report.week, "level": report.level, "schema_version": report.schema_version, "report": report.document}
        for report in reports
    ]
    if as_json:
        print_json(shown)
    else:
        for one in shown:
            console.print(Syntax(json.dumps(one, indent=2), "json", background_color="default", word_wrap=True))
        errors.print(
            f"{quantity(len(shown), 'report')}, without identifiers. The privacy page now shows the inspection and reason."
        )
