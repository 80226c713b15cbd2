"""The commands ``run`` and ``status``."""

from typing import Annotated, Any

import msgspec
import typer
from napari_telemetry.weeks import publishable_from, week_of
from rich.table import Table

from aggregation.cli.opening import effective_time, run, settings, stores
from aggregation.cli.options import EXIT_FAILURE, EXIT_USAGE, JsonOption, NowOption, UsageError, validate_week
from aggregation.cli.output import console, errors, print_json, progress_bar, quantity
from aggregation.jobs import wait_for_lock
from aggregation.publish import JOB, Outcome, Publication, publish_week
from aggregation.status import (
    RETENTION,
    broken_promises,
    due_weeks,
    failing_jobs,
    oldest_after_purge,
    risk_warnings,
    service_status,
)

NOT_POSSIBLE = (Outcome.TOO_EARLY, Outcome.TOO_LATE, Outcome.NO_REPORTS)
MINUTE = "%Y-%m-%d %H:%M UTC"

app = typer.Typer()


@app.command("run")
def run_command(
    week: Annotated[str | None, typer.Option("--week", help="ISO week, such as 2026-W47. Default: all due weeks.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Publish all due weeks from this one on.")] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a week, or all due weeks. A week is published once and never updated."""
    moment = effective_time(now)

    def notify_waiting() -> None:
        errors.print("Another process is publishing. Waiting for it; press Ctrl+C to stop.", style="yellow")

    async def work() -> list[Publication]:
        if week and since:
            raise UsageError("Use --week or --since, not both.")
        validate_week(week)
        if (first := validate_week(since)) and first > week_of(moment):
            raise UsageError(f"{first} has not begun. It is {week_of(moment)}.")
        async with stores() as (raw, aggregate), wait_for_lock(aggregate.engine, JOB, settings().data, notify_waiting):
            publications = []
            for item in [week] if week else await due_weeks(raw, aggregate, moment, first or ""):
                with progress_bar(item) as progress:
                    publications.append(await publish_week(raw, aggregate, item, moment, progress=progress))
            return publications

    publications = run(work)
    if as_json:
        print_json([msgspec.to_builtins(publication) for publication in publications])
    elif not publications:
        console.print("Nothing to do: no week with reports is due. `python -m aggregation status` shows upcoming weeks.")
    else:
        for publication in publications:
            console.print(_sentence(publication))
    if any(publication.outcome is Outcome.UNREADABLE for publication in publications):
        raise typer.Exit(EXIT_FAILURE)
    if any(publication.outcome in NOT_POSSIBLE for publication in publications):
        raise typer.Exit(EXIT_USAGE)


def _sentence(publication: Publication) -> str:
    week, left_out = publication.week, publication.left_out
    match publication.outcome:
        case Outcome.TOO_EARLY:
            return f"{week} can be published from {publication.possible_from:{MINUTE}}. Nothing was written."
        case Outcome.NO_REPORTS:
            return f"There are no raw reports of {week}. Nothing was written. `python -m aggregation status` lists the weeks."
        case Outcome.TOO_LATE:
            return f"{week} was never published, and its raw reports are older than {RETENTION.days} days. Nothing was written."
        case Outcome.UNREADABLE:
            return (
                f"{left_out:,} of {publication.reports:,} reports of {week} can't be read by this version. Publish "
                "with the newer version that stored them. Nothing was written."
            )
        case Outcome.ALREADY:
            return f"{week} is already published."
    damaged = f" {left_out:,} damaged reports were left out." if left_out else ""
    counted = f"{quantity(publication.cells, 'number')} from {quantity(publication.reports, 'report')}"
    return f"{week} is published: {counted}.{damaged}"


@app.command()
def status(now: NowOption = None, as_json: JsonOption = False) -> None:
    """Show weeks with raw reports, published weeks, weeks at risk, and the last runs of the jobs.

    Exit code 1 if raw reports are older than promised.
    """
    moment = effective_time(now)

    async def work() -> dict[str, Any]:
        async with stores() as (raw, aggregate):
            state = await service_status(raw, aggregate, moment)
            good = {one.job: one.ended_at for one in state.last_successes}
            jobs = [one.model_dump(exclude={"id"}) | {"last_success_at": good.get(one.job)} for one in state.jobs]
            return {
                "week": week_of(moment),
                "oldest_week_after_purge": oldest_after_purge(moment),
                "raw_weeks": state.raw_weeks,
                "published_weeks": state.published,
                "due": state.due,
                "at_risk": msgspec.to_builtins(state.at_risk or ()),
                "overdue_for_deletion": state.overdue,
                "runs": [
                    one.model_dump(exclude={"id", "ended_at", "hidden"}) for one in await aggregate.last_aggregation_runs()
                ],
                "jobs": jobs,
                "failures": [one.model_dump(exclude={"id"}) for one in await aggregate.failed_job_runs()],
                "broken_promises": broken_promises(state, moment, keeps_reports=True),
                "warnings": [*risk_warnings(state), *failing_jobs(state)],
            }

    state = run(work)
    if as_json:
        print_json(msgspec.to_builtins(state))
    else:
        _print_status(state)
    if state["broken_promises"]:
        raise typer.Exit(EXIT_FAILURE)


def _print_status(state: dict[str, Any]) -> None:
    runs = {one["week"]: one for one in state["runs"]}
    table = Table("week", "raw reports", "public numbers", "counted from", title=f"It is {state['week']}", title_justify="left")
    for week in sorted({*state["raw_weeks"], *state["published_weeks"]}):
        public = f"from {publishable_from(week):{MINUTE}}"
        for kind, text in (("overdue_for_deletion", "never"), ("due", "due"), ("published_weeks", "published")):
            public = text if week in state[kind] else public
        counted = ""
        if one := runs.get(week):
            damaged = f", {one['left_out']:,} damaged" if one["left_out"] else ""
            counted = f"{one['reports']:,} reports{damaged} in {one['duration_s']:.1f} s, version {one['code_version']}"
        table.add_row(week, "yes" if week in state["raw_weeks"] else "", public, counted)
    if table.row_count:
        console.print(table)
    else:
        console.print(f"It is {state['week']}. There are no reports and no published weeks yet.")
    for one in state["jobs"]:
        ended = f"{one['ended_at']:{MINUTE}}" if one["ended_at"] else f"running since {one['started_at']:{MINUTE}}"
        success = f"last success {one['last_success_at']:{MINUTE}}" if one["last_success_at"] else "no success yet"
        outcome = f", {one['error']} ({success})" if one["error"] else ""
        console.print(f"job {one['job']}: {ended}{outcome}", markup=False)
    for one in state["failures"][:5]:
        console.print(f"failed: {one['job']} on {one['started_at']:{MINUTE}}: {one['error']}", markup=False)
    for sentence in state["broken_promises"]:
        errors.print(f"{sentence} Weeks: {', '.join(state['overdue_for_deletion'])}.", style="red", markup=False)
    for sentence in state["warnings"]:
        errors.print(sentence, style="yellow", markup=False)
