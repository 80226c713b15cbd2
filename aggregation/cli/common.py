"""What the commands share: the stores, the clock, options, and how a failure is told."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from napari_update_hook.weeks import InvalidWeekError, start_of
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.clock import Clock
from aggregation.compute import CountingError
from aggregation.settings import AggregationSettings, Role, Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore
from migrations import StoreNotMigratedError, StoreTooNewError, is_current, upgrade

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

T = TypeVar("T")

NOT_DONE, USAGE = 1, 2
LOOPBACK = ("localhost", "127.0.0.1", "::1")

NowOption = Annotated[datetime | None, typer.Option("--now", help="Act as if it were this instant (ISO, UTC), for rehearsals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


class UsageError(Exception):
    """Something was asked for that does not exist or can't be; the message says what to do. Nothing was written."""


def settings() -> AggregationSettings:
    """Return the settings of the environment, or end with a sentence about each that is wrong."""
    from pydantic import ValidationError

    try:
        return AggregationSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            errors.print(f"AGGREGATION_{name}: {problem['msg'].removeprefix('Value error, ')}", style="red", markup=False)
        raise typer.Exit(USAGE) from error


def instant(now: datetime | None) -> datetime:
    """Return the instant to act at. Another than the true one is for rehearsals, and so refused for stores elsewhere."""
    if now is not None:
        now = now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)
        urls = [url for store in Store if (url := settings().url(store, Role.SCHEDULER))]
        if any((make_url(url).host or "localhost") not in LOOPBACK for url in urls):
            errors.print("--now moves the clock, which is refused unless both stores are on this machine.", style="red")
            raise typer.Exit(USAGE)
        errors.print(f"Acting as if it were {now:%Y-%m-%d %H:%M} UTC.", style="yellow")
    return Clock(now).now()


@asynccontextmanager
async def stores() -> AsyncIterator[tuple[RawStore, AggregateStore]]:
    """Open both stores, with the scheduler's rights."""
    raw_url = await _url_of(Store.RAW)
    aggregate_url = await _url_of(Store.AGGREGATE)
    raw, engine = RawStore(make_engine(raw_url)), make_engine(aggregate_url)
    try:
        yield raw, AggregateStore(engine)
    finally:
        await raw.close()
        await engine.dispose()


@asynccontextmanager
async def aggregate_store() -> AsyncIterator[AggregateStore]:
    """Open the aggregate store alone: the raw one need not be within reach."""
    engine = make_engine(await _url_of(Store.AGGREGATE))
    try:
        yield AggregateStore(engine)
    finally:
        await engine.dispose()


async def _url_of(store: Store) -> str:
    """Where a store is, once it is there and of this version. An old SQLite file is migrated; elsewhere its owner does that."""
    url = settings().url(store, Role.SCHEDULER)
    variable = f"AGGREGATION_{store.upper()}_URL"
    if url is None:
        raise UsageError(f"The {store} store is switched off: {variable} is set to nothing.")
    if not url.startswith("sqlite"):
        if not await is_current(store, url):
            raise StoreNotMigratedError(
                f"The {store} store is not of this version: run `update-server db migrate` as its owner, or install the "
                "version that has migrated it."
            )
        return url
    file = make_url(url).database
    if file and file != ":memory:" and not Path(file).exists():
        raise UsageError(
            f"There is no {store} store at {file}. Start the service once, or say where it is: {variable}, or "
            "UPDATE_SERVER_DATA for the folder."
        )
    await upgrade(store, url)
    return url


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something, and tell in a sentence why it could not be done."""
    try:
        return asyncio.run(work())
    except KeyboardInterrupt as error:
        errors.print("Ended by Ctrl+C. What was not finished was not written.")
        raise typer.Exit(130) from error
    except (InvalidWeekError, UsageError, StoreTooNewError, StoreNotMigratedError) as error:
        errors.print(str(error), style="red", markup=False)
        raise typer.Exit(USAGE) from error
    except OSError as error:
        if error.filename is not None:
            errors.print(f"{error.filename}: {error.strerror or error}. Nothing was finished.", style="red", markup=False)
            raise typer.Exit(NOT_DONE) from error
        _tell_of_store(error)
        raise typer.Exit(NOT_DONE) from error
    except SQLAlchemyError as error:
        _tell_of_store(error)
        raise typer.Exit(NOT_DONE) from error
    except CountingError as error:
        errors.print(f"Not done: {error}", style="red", markup=False)
        raise typer.Exit(NOT_DONE) from error


def _tell_of_store(error: Exception) -> None:
    reason = str(getattr(error, "orig", None) or error).splitlines()[0]
    errors.print(f"A store can't be used: {reason}", style="red", markup=False)
    errors.print(
        "AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL say where the stores are; `update-server db migrate` prepares them."
    )


def print_json(value: Any) -> None:
    """Print JSON, as it is where it is piped into something."""
    if console.is_terminal:
        console.print_json(json.dumps(value))
    else:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def several(count: int, noun: str) -> str:
    """Return a count with its noun: "1 number", "2 numbers"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def were(count: int) -> str:
    """Return the verb for so many."""
    return "was" if count == 1 else "were"


def entry_of(name: str) -> Entry:
    """Return the entry of the catalogue with that id. Raises UsageError."""
    import difflib

    for entry in CATALOGUE:
        if entry.id == name:
            return entry
    near = difflib.get_close_matches(name, [entry.id for entry in CATALOGUE], 3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"There is no entry {name[:64]!r} in the catalogue.{hint} `python -m aggregation catalogue` lists all.")


def checked_week(text: str | None) -> str | None:
    """Return a week as it is. Raises InvalidWeekError."""
    if text is not None:
        start_of(text)
    return text


def confirmed(question: str, yes: bool) -> None:
    """Ask, unless ``yes``, and end without anything done where the answer is no, or nobody is there to give one."""
    if yes:
        return
    if not sys.stdin.isatty():
        errors.print(f"{question} Say so with --yes, because nobody can be asked here. Nothing was written.", markup=False)
        raise typer.Exit(USAGE)
    if not typer.confirm(question):
        errors.print("Nothing was written.")
        raise typer.Exit(NOT_DONE)


def checked_reason(text: str) -> str:
    """Return a reason that can be shown in public. Raises UsageError where it says too little, or what it must not."""
    import re

    reason = " ".join(text.split())
    if len(reason) < 10:
        raise UsageError("The reason is shown in public, for ever: say in a sentence why, with at least 10 letters.")
    if len(reason) > 500:
        raise UsageError("The reason is shown in public: say it in at most 500 letters.")
    if re.search(r"[0-9a-f]{32}", re.sub(r"[\s:_-]", "", reason), re.IGNORECASE):
        raise UsageError("The reason is shown in public, and names an identifier: leave that out.")
    return reason


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar while reports are read, on a terminal; elsewhere there is none, and None comes of it."""
    if not errors.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("reports"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def told(read: int, total: int) -> None:
            progress.update(task, completed=read, total=total)

        yield told
