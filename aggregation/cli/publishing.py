"""Publishing weeks, and seeing how things stand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from napari_telemetry.weeks import end_of, published_from, week_of
from rich.table import Table

from aggregation.cli.opening import instant, run, settings, stores
from aggregation.cli.options import NOT_DONE, USAGE, JsonOption, NowOption, UsageError, checked_week
from aggregation.cli.output import console, errors, print_json, progress_bar, several
from aggregation.jobs import turn
from aggregation.publish import JOB, Outcome, Publication, due_weeks, publish_week
from aggregation.retention import RETENTION, oldest_after_purge
from aggregation.standing import Standing, broken_promises, failing_jobs, standing, weeks_about_to_be_lost
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AggregationRun, JobRun

NOT_POSSIBLE = (Outcome.TOO_EARLY, Outcome.TOO_LATE, Outcome.NO_REPORTS)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (run_command, status):
        app.command(command.__name__.removesuffix("_command"))(command)


@asynccontextmanager
async def _alone(aggregate: AggregateStore) -> AsyncIterator[None]:
    """Publish in turn: where another process is at it, say so and wait."""

    def told() -> None:
        errors.print("Another process is publishing. Waiting for it; Ctrl+C ends the waiting.", style="yellow")

    async with turn(aggregate.engine, JOB, settings().data, told):
        yield


def run_command(
    week: Annotated[str | None, typer.Option("--week", help="ISO week, such as 2026-W47. Default: all that are due.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="All that are due, from this week on.")] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a week, or every week whose time has come. A week is published once; asked earlier, this says when it can be."""
    moment = instant(now)

    async def work() -> list[Publication]:
        if week and since:
            raise UsageError("Give --week or --since, not both.")
        checked_week(week)
        if (first := checked_week(since)) and first > week_of(moment):
            raise UsageError(f"{first} has not begun. It is {week_of(moment)}.")
        async with stores() as (raw, aggregate), _alone(aggregate):
            publications = []
            for item in [week] if week else await due_weeks(raw, aggregate, moment, first or ""):
                with progress_bar(item) as progress:
                    publications.append(await publish_week(raw, aggregate, item, moment, progress=progress))
            return publications

    publications = run(work)
    if as_json:
        print_json([msgspec.to_builtins(publication) for publication in publications])
    elif not publications:
        console.print("Nothing to do: no week with reports is due. `python -m aggregation status` shows what is coming.")
    else:
        for publication in publications:
            console.print(_sentence(publication))
    _end_with(publications)


def _end_with(publications: list[Publication]) -> None:
    """End with an exit code that tells whether everything that was asked for was done, or could be."""
    if any(publication.outcome is Outcome.UNREADABLE for publication in publications):
        raise typer.Exit(NOT_DONE)
    if any(publication.outcome in NOT_POSSIBLE for publication in publications):
        raise typer.Exit(USAGE)


def _sentence(publication: Publication) -> str:
    week = publication.week
    if publication.possible_from is not None:
        return (
            f"{week} can be published from {publication.possible_from:%Y-%m-%d %H:%M} UTC: reports are taken until "
            "14 days after its end. Nothing was written."
        )
    if publication.outcome is Outcome.NO_REPORTS:
        return f"There are no raw reports of {week}. Nothing was written. `python -m aggregation status` lists the weeks."
    if publication.outcome is Outcome.TOO_LATE:
        return (
            f"{week} was never published, and its raw reports are older than {RETENTION.days} days: they are deleted, or about "
            "to be. Nothing was written."
        )
    if publication.outcome is Outcome.UNREADABLE:
        return (
            f"{publication.left_out:,} of {publication.reports:,} reports of {week} can't be read by this version, because a "
            "newer one took them: publish with that. Nothing was written."
        )
    if publication.outcome is Outcome.ALREADY:
        return f"{week} is published already, and stays as it is."
    left_out = f" {publication.left_out:,} could not be read and were left out." if publication.left_out else ""
    return (
        f"{week} is published: {several(publication.cells, 'number')} from {several(publication.reports, 'report')}.{left_out}"
    )


def status(now: NowOption = None, as_json: JsonOption = False) -> None:
    """Show which weeks have raw reports, which are published, what is about to be lost, and how the jobs did.

    Exit code 1 where raw reports are older than promised.
    """
    moment = instant(now)

    async def work() -> tuple[Standing, list[AggregationRun], list[JobRun]]:
        async with stores() as (raw, aggregate):
            return (
                await standing(raw, aggregate, moment),
                await aggregate.last_aggregation_runs(),
                await aggregate.failed_job_runs(),
            )

    state, runs, failures = run(work)
    broken = broken_promises(state, moment, keeps_reports=True)
    if as_json:
        print_json(_status_as_json(state, runs, failures, moment))
    else:
        _print_status(state, runs, failures, moment)
    if broken:
        raise typer.Exit(NOT_DONE)


def _print_status(state: Standing, runs: list[AggregationRun], failures: list[JobRun], moment: datetime) -> None:
    _print_weeks(state, runs, moment)
    good = {job.job: job.ended_at for job in state.good_jobs}
    for job in state.jobs:
        if job.ended_at is None:
            console.print(f"job {job.job}: running since {job.started_at:%Y-%m-%d %H:%M} UTC", markup=False)
            continue
        ended = f"{job.ended_at:%Y-%m-%d %H:%M} UTC"
        last_good = good.get(job.job)
        since = f"; last went well {last_good:%Y-%m-%d %H:%M} UTC" if last_good else "; never went well yet"
        console.print(f"job {job.job}: {f'{job.error}{since}' if job.error else 'went well'} ({ended})", markup=False)
    old = [failure for failure in failures if failure.id not in {job.id for job in state.jobs}]
    for failure in old[:5]:
        console.print(f"before: {failure.job} on {failure.started_at:%Y-%m-%d %H:%M} UTC: {failure.error}", markup=False)
    for sentence in broken_promises(state, moment, keeps_reports=True):
        errors.print(sentence, style="red", markup=False)
    if state.overdue:
        errors.print(f"They are of {', '.join(state.overdue)}.", style="red", markup=False)
    for sentence in [*weeks_about_to_be_lost(state), *failing_jobs(state)]:
        errors.print(sentence, style="yellow", markup=False)


def _print_weeks(state: Standing, runs: list[AggregationRun], now: datetime) -> None:
    by_week = {aggregation.week: aggregation for aggregation in runs}
    table = Table(
        "week", "ended", "raw reports", "public numbers", "ran on", title=f"It is {week_of(now)}", title_justify="left"
    )
    for week in sorted({*(state.raw_weeks or ()), *state.published}):
        ran = by_week.get(week)
        left_out = f", {ran.left_out:,} left out" if ran and ran.left_out else ""
        on = f"{ran.reports:,} reports in {ran.duration_s:.1f} s{left_out}, version {ran.code_version}" if ran else ""
        if week in state.published:
            out = "published"
        elif week in (state.due or ()):
            out = "due"
        elif week in (state.overdue or ()):
            out = "never"
        else:
            out = f"from {published_from(week):%Y-%m-%d %H:%M} UTC"
        held = "held" if week in (state.raw_weeks or ()) else "deleted or none"
        table.add_row(week, f"{end_of(week):%Y-%m-%d}", held, out, on)
    if table.row_count:
        console.print(table)
    else:
        console.print(f"It is {week_of(now)}. There are no reports and no published weeks yet.")


def _status_as_json(state: Standing, runs: list[AggregationRun], failures: list[JobRun], now: datetime) -> dict[str, Any]:
    def job(one: JobRun) -> dict[str, Any]:
        return one.model_dump(mode="json", exclude={"id"})

    good = {one.job: job(one)["ended_at"] for one in state.good_jobs}
    return {
        "week": week_of(now),
        "oldest_week_after_purge": oldest_after_purge(now),
        "raw_weeks": state.raw_weeks,
        "published_weeks": state.published,
        "due": state.due,
        "at_risk": msgspec.to_builtins(state.at_risk or ()),
        "overdue_for_deletion": state.overdue,
        "runs": [one.model_dump(mode="json", exclude={"id", "ended_at", "hidden"}) for one in runs],
        "jobs": [{**job(one), "last_went_well_at": good.get(one.job)} for one in state.jobs],
        "failures": [job(one) for one in failures],
        "broken_promises": broken_promises(state, now, keeps_reports=True),
        "warnings": [*weeks_about_to_be_lost(state), *failing_jobs(state)],
    }
