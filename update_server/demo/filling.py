"""Fills a data folder with weeks of sample data, through the real intake in this process, with a manual clock."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import httpx
import msgspec
from napari_telemetry.weeks import next_week, publishable_from, start_of, week_of

from aggregation.clock import Clock
from aggregation.publish import Outcome, publish_week
from aggregation.settings import AggregationSettings, Store
from aggregation.status import purge
from migrations import upgrade
from update_server.app import create_app, running
from update_server.demo.population import World, by_popularity, choose_python, generate_batches, generate_people
from update_server.index.model import is_prerelease
from update_server.services import Services
from update_server.settings import DEMO_MARKER, Settings

WEEKS = 104
PEOPLE = 900
MAX_CONCURRENT_REQUESTS = 200
"""Maximum number of concurrent requests; they share commits, as in production."""
LONG_AGO = date(2020, 1, 1)
"""Assumed upload date of releases that have none in the index."""

DEMO_NOTICE = "The numbers in this folder are sample data. Every page says so as long as this file exists."
COMPLETE_NOTICE = "All weeks are there."
"""Added to the file at the end; without it, `make demo` starts over."""

Progress = Callable[[int, int], None]


class NotADemoError(Exception):
    """The numbers in the folder may be real."""


class ManualClock(Clock):
    def __init__(self, instant: datetime) -> None:
        super().__init__()
        self.instant = instant

    def now(self) -> datetime:
        return self.instant


async def fill(settings: Settings, now: datetime, *, weeks: int = WEEKS, people: int = PEOPLE, progress: Progress) -> int:
    """Fill the data folder; return the number of reports. Raises NotADemoError if its stores are not marked as a demo."""
    mark = settings.data / DEMO_MARKER
    stores = [settings.data / name for name in ("raw", "aggregate.sqlite3")]
    if any(store.exists() for store in stores) and not mark.exists():
        raise NotADemoError(f"The numbers in {settings.data} may be real. Set UPDATE_SERVER_DATA to another folder.")
    settings.data.mkdir(parents=True, exist_ok=True)
    for store in stores:
        for path in settings.data.glob(f"{store.name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    mark.write_text(f"{DEMO_NOTICE}\n", "utf-8")
    changes = {"jobs": False, "now": None, "reports_per_minute": 0, "reports_per_day": 0, "metrics_port": None}
    own = settings.model_copy(update=changes | {"aggregation": AggregationSettings(data=settings.data)})
    for kind in Store:
        url = own.aggregation.url(kind)
        assert url is not None
        await upgrade(kind, url)
    app = create_app(own)
    services: Services = app.state.services
    async with running(services), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://demo") as client:
        sent = await _generate_weeks(services, client, list(_last_weeks(now, weeks)), people, progress)
    mark.write_text(f"{DEMO_NOTICE} {COMPLETE_NOTICE}\n", "utf-8")
    return sent


async def _generate_weeks(
    services: Services, client: httpx.AsyncClient, weeks: list[str], people: int, progress: Progress
) -> int:
    world = _build_world(services)
    first = start_of(weeks[0]).date()
    crowd = generate_people(
        by_popularity(world.plugins),
        len(weeks),
        people,
        python_at=lambda dice, joined: choose_python(dice, first + timedelta(weeks=joined)),
    )
    clock = services.clock = ManualClock(start_of(weeks[0]))
    assert services.raw is not None
    room = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
    sent = 0

    async def post(body: dict[str, object], level: str) -> None:
        async with room:
            answer = await client.post(
                f"/api/updates/{level}?python=3.11",
                content=msgspec.json.encode(body),
                headers={"content-type": "application/json"},
            )
        if answer.status_code != 200:
            raise RuntimeError(f"the intake refused a sample report: {answer.text}")

    for number, week in enumerate(weeks):
        clock.instant = start_of(week) + timedelta(days=6)
        batches = list(generate_batches(world, crowd, week, number))
        await asyncio.gather(*(post(batch, str(batch["consent"]["level"])) for batch in batches))
        sent += len(batches)
        clock.instant = publishable_from(week)
        published = await publish_week(services.raw, services.aggregate, week, clock.now())
        if published.outcome is not Outcome.PUBLISHED:
            raise RuntimeError(f"{week} was not published: {published.outcome}")
        await purge(services.raw, clock.now())
        progress(number + 1, len(weeks))
    return sent


def _last_weeks(now: datetime, weeks: int) -> Iterator[str]:
    last = week_of(now)
    while publishable_from(last) > now:
        last = week_of(start_of(last) - timedelta(days=1))
    week = week_of(start_of(last) - timedelta(weeks=weeks - 1))
    for _ in range(weeks):
        yield week
        week = next_week(week)


def _build_world(services: Services) -> World:
    packages = services.loaded().packages
    allowed = services.allowed()

    def versions(name: str) -> list[tuple[str, date]]:
        found = []
        for release in packages[name].releases:
            if release.files and not is_prerelease(release.version):
                out = date.fromisoformat(release.uploaded) if release.uploaded else LONG_AGO
                found.append((release.version, out))
        return found[::-1]

    plugins = {name: found for name in allowed.plugins if (found := versions(name))}
    commands: dict[str, list[str]] = {}
    for command in sorted(allowed.commands):
        commands.setdefault(command.partition(".")[0], []).append(command)
    napari = versions("napari") if "napari" in packages else [("development", LONG_AGO)]
    commands.setdefault("napari", [])
    return World(napari, plugins, commands)
