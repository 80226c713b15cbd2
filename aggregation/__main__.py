"""The command ``python -m aggregation``: publish, purge, forget, and see how things stand."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, TypeVar

import structlog
import typer
from napari_update_hook.weeks import InvalidWeekError, end_of, published_from, week_of
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.clock import Clock
from aggregation.publish import Outcome, Publication, due_weeks, publish_week
from aggregation.retention import oldest_kept, purge
from aggregation.settings import Role, Store, StoreSettings
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore
from migrations import StoreTooNewError, upgrade

app = typer.Typer(
    help="Turn raw reports into public weekly numbers. AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL say where they are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

T = TypeVar("T")

SECONDS_TO_ERASE = 60

NowOption = Annotated[datetime | None, typer.Option("--now", help="Act as if it were this instant (ISO, UTC), for rehearsals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _instant(now: datetime | None) -> datetime:
    """The instant to act at. Another than the true one is for rehearsals, and so refused for stores on other machines."""
    if now is not None:
        urls = [url for store in Store if (url := StoreSettings().url(store, Role.SCHEDULER))]
        if any(make_url(url).host not in (None, "", "localhost", "127.0.0.1", "::1") for url in urls):
            errors.print("--now moves the clock, which is refused unless both stores are on this machine.", style="red")
            raise typer.Exit(2)
        errors.print(f"Acting as if it were {now:%Y-%m-%d %H:%M} UTC.", style="yellow")
    return Clock(now).now()


@asynccontextmanager
async def _stores() -> AsyncIterator[tuple[RawStore, AggregateStore]]:
    """Both stores, with the scheduler's rights. SQLite files are migrated first; elsewhere that is the owner's act."""
    settings = StoreSettings()
    urls = {store: settings.url(store, Role.SCHEDULER) for store in Store}
    for store, url in urls.items():
        if url is None:
            raise typer.BadParameter(f"the {store} store is switched off: AGGREGATION_{store.upper()}_URL is set to nothing")
        if url.startswith("sqlite"):
            await upgrade(store, url)
    engines = [make_engine(url) for url in urls.values() if url]
    try:
        yield RawStore(engines[0]), AggregateStore(engines[1])
    finally:
        for engine in engines:
            await engine.dispose()


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return asyncio.run(work())
    except (InvalidWeekError, typer.BadParameter, StoreTooNewError) as error:
        errors.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        errors.print(f"A store can't be used: {reason}", style="red", markup=False)
        errors.print(
            "AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL say where they are; `update-server db migrate` prepares them."
        )
        raise typer.Exit(1) from error


def _progress(entries: Iterable[Entry]) -> Iterable[Entry]:
    return track(list(entries), "computing", console=errors, transient=True, disable=not errors.is_terminal)


@app.command()
def run(
    week: Annotated[str | None, typer.Option("--week", help="ISO week, such as 2026-W47. Default: all that are due.")] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a week, or every week whose time has come. A week is published once; asked earlier, this says when it can be."""
    instant = _instant(now)

    async def work() -> list[Publication]:
        async with _stores() as (raw, aggregate):
            weeks = [week] if week else await due_weeks(raw, aggregate, instant)
            return [await publish_week(raw, aggregate, item, instant, progress=_progress) for item in weeks]

    publications = _run(work)
    if as_json:
        console.print_json(json.dumps([_as_json(publication) for publication in publications]))
    elif not publications:
        console.print("Nothing to do: no week with reports is due. `python -m aggregation status` shows what is coming.")
    else:
        for publication in publications:
            console.print(_sentence(publication))
    if any(publication.outcome in (Outcome.TOO_EARLY, Outcome.NO_REPORTS) for publication in publications):
        raise typer.Exit(2)


def _sentence(publication: Publication) -> str:
    if publication.possible_from is not None:
        return (
            f"{publication.week} can be published from {publication.possible_from:%Y-%m-%d %H:%M} UTC: reports are taken until "
            "14 days after its end. Nothing was written."
        )
    if publication.outcome is Outcome.NO_REPORTS:
        return f"There are no raw reports of {publication.week}. Nothing was written."
    if publication.outcome is Outcome.ALREADY:
        return f"{publication.week} is published already, and stays as it is."
    return f"{publication.week} is published: {publication.cells} numbers from {publication.reports} reports."


def _as_json(publication: Publication) -> dict[str, Any]:
    possible_from = publication.possible_from
    return {
        "week": publication.week,
        "outcome": publication.outcome,
        "cells": publication.cells,
        "reports": publication.reports,
        "possible_from": possible_from.isoformat() if possible_from else None,
    }


@app.command()
def status(now: NowOption = None, as_json: JsonOption = False) -> None:
    """Show which weeks have raw reports, which are published, what the jobs did last."""
    instant = _instant(now)

    async def work() -> dict[str, Any]:
        async with _stores() as (raw, aggregate):
            raw_weeks = await raw.weeks()
            published = await aggregate.published_weeks()
            jobs = await aggregate.last_job_runs()
        return {
            "week": week_of(instant),
            "raw_weeks": raw_weeks,
            "published_weeks": published,
            "overdue_for_deletion": [week for week in raw_weeks if week < oldest_kept(instant)],
            "jobs": [
                {
                    "job": job.job,
                    "started_at": str(job.started_at),
                    "ended_at": str(job.ended_at or ""),
                    "error": job.error,
                }
                for job in jobs
            ],
        }

    report = _run(work)
    if as_json:
        console.print_json(json.dumps(report))
        return
    table = Table("week", "ended", "raw reports", "public numbers", title=f"It is {report['week']}", title_justify="left")
    for week in sorted({*report["raw_weeks"], *report["published_weeks"]}):
        is_out = week in report["published_weeks"]
        held = week in report["raw_weeks"]
        table.add_row(
            week,
            f"{end_of(week):%Y-%m-%d}",
            "held" if held else "deleted or none",
            "published" if is_out else f"from {published_from(week):%Y-%m-%d %H:%M} UTC",
        )
    if table.row_count:
        console.print(table)
    else:
        console.print(f"It is {report['week']}. There are no reports and no published weeks yet.")
    for job in report["jobs"]:
        console.print(f"job {job['job']}: {job['error'] or 'went well'} ({job['ended_at'] or 'still running'})")
    if report["overdue_for_deletion"]:
        errors.print(f"[red]Raw reports older than 60 days: {', '.join(report['overdue_for_deletion'])}. Run `purge`.[/red]")


@app.command("purge")
def purge_command(now: NowOption = None) -> None:
    """Delete the raw reports of weeks that began 60 days ago or earlier."""
    instant = _instant(now)

    async def work() -> int:
        async with _stores() as (raw, _):
            return await purge(raw, instant)

    console.print(f"{_run(work)} raw reports from before {oldest_kept(instant)} were deleted.")


@app.command()
def forget(
    identifier: Annotated[str, typer.Argument(help="32 hex digits, as `napari-updates id` shows them.")],
) -> None:
    """Delete all raw reports of one identifier, for people who ask by e-mail."""
    if len(identifier) != 32 or set(identifier) - set("0123456789abcdef"):
        errors.print("[red]An identifier is 32 digits from 0 to 9 and a to f, as `napari-updates id` shows it.[/red]")
        raise typer.Exit(2)

    async def work() -> int:
        async with _stores() as (raw, _):
            deleted = await raw.delete(identifier)
            for _ in range(SECONDS_TO_ERASE):
                if await raw.erase():
                    return deleted
                await asyncio.sleep(1)
            errors.print("They are deleted, but a process that reads the store keeps them in its log. Run this again later.")
            return deleted

    console.print(f"{_run(work)} reports were deleted.")


@app.command()
def catalogue(as_json: JsonOption = False) -> None:
    """List the public questions, and what each needs."""
    if as_json:
        console.print_json(
            json.dumps(
                [
                    {
                        "id": entry.id,
                        "question": entry.question,
                        "level": entry.level,
                        "fields": entry.fields,
                        "by": entry.by,
                    }
                    for entry in CATALOGUE
                ]
            )
        )
        return
    table = Table("entry", "question", "level", "by")
    for entry in CATALOGUE:
        table.add_row(entry.id, entry.question, entry.level, ", ".join(dimension.name for dimension in entry.dimensions))
    console.print(table)


def main() -> None:
    """Run the command."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app()


if __name__ == "__main__":
    main()
