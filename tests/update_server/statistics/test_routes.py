from __future__ import annotations

import pytest
from napari_update_hook.weeks import published_from

from aggregation.catalogue import CATALOGUE
from aggregation.publish import publish_week
from tests.support.reports import WEEK, report
from tests.update_server.conftest import Client, services_of
from update_server.statistics import routes as statistics


async def fill(client: Client, *weeks: str) -> None:
    services = services_of(client)
    assert services.raw is not None
    for week in weeks:
        await services.raw.put(
            [report(person, week=week, python_version="3.11" if person < 17 else "3.12") for person in range(24)]
        )
        await publish_week(services.raw, services.aggregate, week, published_from(week))


async def test_installs_of_a_plugin_by_python_come_from_the_aggregate_store(client: Client) -> None:
    await fill(client, WEEK)
    numbers = (await client.get("/api/stats/plugins/Affinder?by=python")).json()
    assert numbers == {
        "entry": "plugins-by-python",
        "question": "With which Python versions is a plugin used?",
        "listed_from": 10,
        "rounded_down_to": 5,
        "weeks": [WEEK],
        "rows": [{"week": WEEK, "values": {"plugin": "affinder", "python": "3.11"}, "people": 15}],
        "retractions": [],
        "next": None,
    }


async def test_a_listed_plugin_without_rows_is_a_200_whether_hidden_or_had_by_nobody(client: Client) -> None:
    await fill(client, WEEK)
    numbers = (await client.get("/api/stats/plugins/napari-harpy")).json()
    assert (numbers["rows"], numbers["weeks"]) == ([], [WEEK])


async def test_a_name_outside_the_index_is_a_404(client: Client) -> None:
    response = await client.get("/api/stats/plugins/private-plugin")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/stats/plugins/affinder?by=colour", "by=python"),
        ("/api/stats/napari?by=plugin", "by=napari"),
        ("/api/stats/napari?from=yesterday", "2026-W47"),
        ("/api/stats/napari?to=2025-W53", "2026-W47"),
    ],
)
async def test_a_bad_question_is_a_400_that_says_what_there_is(client: Client, path: str, hint: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert hint in response.json()["detail"]


async def test_dimensions_may_come_in_any_order(client: Client) -> None:
    await fill(client, WEEK)
    one = (await client.get("/api/stats/napari?by=platform,architecture")).json()
    other = (await client.get("/api/stats/napari?by=architecture, platform")).json()
    assert one == other
    assert one["rows"] == [{"week": WEEK, "values": {"platform": "linux", "architecture": "x86_64"}, "people": 20}]


async def test_weeks_are_a_range(client: Client) -> None:
    await fill(client, "2026-W40", "2026-W41", "2026-W42")
    numbers = (await client.get("/api/stats/napari?from=2026-W41&to=2026-W41")).json()
    assert numbers["weeks"] == ["2026-W41"]
    assert [row["week"] for row in numbers["rows"]] == ["2026-W41"]


async def test_many_rows_come_in_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(client, "2026-W40", "2026-W41", "2026-W42")
    monkeypatch.setattr(statistics, "MOST_ROWS", 2)
    first = (await client.get("/api/stats/napari?from=2026-W40")).json()
    assert [row["week"] for row in first["rows"]] == ["2026-W40", "2026-W41"]
    second = (await client.get(first["next"])).json()
    assert [row["week"] for row in second["rows"]] == ["2026-W42"]
    assert second["next"] is None


async def test_everything_that_the_catalogue_offers_is_found_where_it_says(client: Client) -> None:
    await fill(client, WEEK)
    offer = (await client.get("/api/stats")).json()
    assert [entry["entry"] for entry in offer["entries"]] == [
        entry.id for topic in dict.fromkeys(entry.topic for entry in CATALOGUE) for entry in CATALOGUE if entry.topic == topic
    ]
    for entry in offer["entries"]:
        numbers = (await client.get(entry["url"].replace("{plugin}", "affinder"))).json()
        assert numbers["entry"] == entry["entry"]
