"""Load settings, clock and stores for a command, and turn errors into messages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import typer
from napari_telemetry.weeks import InvalidWeekError
from pydantic import ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from aggregation.certificates.statement import CertificateError
from aggregation.cli.options import EXIT_FAILURE, EXIT_USAGE, UsageError
from aggregation.cli.output import errors, first_line, print_invalid_settings
from aggregation.clock import Clock
from aggregation.compute import CountingError
from aggregation.settings import AggregationSettings, Role, Store, is_loopback
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore, open_raw_store
from migrations import StoreError, is_current, upgrade

T = TypeVar("T")


def settings() -> AggregationSettings:
    """Return the settings, or exit with a message."""
    try:
        return AggregationSettings()
    except ValidationError as error:
        print_invalid_settings(error, "AGGREGATION_")
        raise typer.Exit(EXIT_USAGE) from error


def effective_time(now: datetime | None) -> datetime:
    """Return the effective time. ``--now`` is for trial runs, so it is rejected if a store is remote."""
    if now is not None:
        now = now.astimezone(UTC) if now.tzinfo else now.replace(tzinfo=UTC)
        urls = [url for store in Store if (url := settings().url(store, Role.SCHEDULER))]
        if any(not is_loopback(make_url(url).host or "localhost") for url in urls):
            errors.print("--now changes the clock, so it is allowed only if both stores are on this machine.", style="red")
            raise typer.Exit(EXIT_USAGE)
        errors.print(f"Using {now:%Y-%m-%d %H:%M} UTC as the current time.", style="yellow")
    return Clock(now).now()


@asynccontextmanager
async def stores() -> AsyncIterator[tuple[RawStore, AggregateStore]]:
    """Open both stores."""
    raw_url = await _current_url(Store.RAW)
    aggregate_url = await _current_url(Store.AGGREGATE)
    raw, engine = open_raw_store(raw_url), make_engine(aggregate_url)
    try:
        yield raw, AggregateStore(engine)
    finally:
        await raw.close()
        await engine.dispose()


@asynccontextmanager
async def open_aggregate_store() -> AsyncIterator[AggregateStore]:
    """Open only the aggregate store, for commands that must work while the raw store is unreachable."""
    engine = make_engine(await _current_url(Store.AGGREGATE))
    try:
        yield AggregateStore(engine)
    finally:
        await engine.dispose()


async def _current_url(store: Store) -> str:
    """Return a store's URL after checking that it exists and its schema is current.

    SQLite is migrated here; PostgreSQL must be migrated by its owner.
    """
    url = settings().url(store, Role.SCHEDULER)
    variable = f"AGGREGATION_{store.upper()}_URL"
    if url is None:
        raise UsageError(f"The {store} store is disabled because {variable} is empty. Set it to the store's URL.")
    if not url.startswith("sqlite"):
        if not await is_current(store, url):
            raise StoreError(
                f"The {store} store does not match this version: run `update-server db migrate` as its owner, or install the "
                "version that migrated it."
            )
        return url
    file = make_url(url).database
    if not (Path(file or "").is_dir() if store is Store.RAW else Path(file or "").exists()):
        raise UsageError(
            f"There is no {store} store at {file}. Start the service once, or set {variable}, or UPDATE_SERVER_DATA for the "
            "folder."
        )
    await upgrade(store, url)
    return url


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine, and turn its errors into messages and exit codes."""
    try:
        return asyncio.run(work())
    except KeyboardInterrupt as error:
        errors.print("Interrupted. Unfinished work was not saved.")
        raise typer.Exit(130) from error
    except (InvalidWeekError, UsageError, StoreError, CertificateError) as error:
        errors.print(str(error), style="red", markup=False)
        raise typer.Exit(EXIT_USAGE) from error
    except (OSError, SQLAlchemyError, CountingError) as error:
        if isinstance(error, CountingError):
            errors.print(f"The command failed: {error}", style="red", markup=False)
        elif isinstance(error, OSError) and error.filename is not None:
            errors.print(f"{error.filename}: {error.strerror or error}. Not completed.", style="red", markup=False)
        else:
            errors.print(f"A store can't be used: {first_line(error)}", style="red", markup=False)
            errors.print("Check AGGREGATION_RAW_URL and AGGREGATION_AGGREGATE_URL, which set the stores' locations.")
        raise typer.Exit(EXIT_FAILURE) from error
