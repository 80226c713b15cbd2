from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from napari_telemetry.weeks import publishable_from

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
        await publish_week(services.raw, services.aggregate, week, publishable_from(week))


async def test_installs_of_a_plugin_by_python_come_from_the_aggregate_store(client: Client) -> None:
    await fill(client, WEEK)
    numbers = (await client.get("/api/stats/plugins/Affinder?by=python")).json()
    assert numbers == {
        "entry": "plugins-by-python",
        "question": "Which Python versions is a plugin used with?",
        "listed_from": 10,
        "rounded_down_to": 5,
        "weeks": [WEEK],
        "rows": [{"week": WEEK, "values": {"plugin": "affinder", "python": "3.11"}, "people": 15}],
        "retractions": [],
        "next": None,
    }


async def test_a_known_plugin_without_public_rows_is_a_200(client: Client) -> None:
    await fill(client, WEEK)
    numbers = (await client.get("/api/stats/plugins/napari-harpy")).json()
    assert (numbers["rows"], numbers["weeks"]) == ([], [WEEK])


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/api/stats/plugins/affinder?by=colour", "by=python"),
        ("/api/stats/napari?by=plugin", "by=napari"),
        ("/api/stats/napari?from=yesterday", "2026-W47"),
        ("/api/stats/napari?format=xml", "json, csv"),
        ("/api/stats/plugins/affinder?from=2026-W41&to=2026-W40", "later than the last"),
        ("/api/stats/napari?to=2025-W53", "2026-W47"),
    ],
)
async def test_a_bad_query_is_a_400_with_a_hint(client: Client, path: str, hint: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert hint in response.json()["detail"]


async def test_weeks_are_selected_as_a_range(client: Client) -> None:
    await fill(client, "2026-W40", "2026-W41", "2026-W42")
    numbers = (await client.get("/api/stats/napari?from=2026-W41&to=2026-W41")).json()
    assert numbers["weeks"] == ["2026-W41"]
    assert [row["week"] for row in numbers["rows"]] == ["2026-W41"]


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_rows_are_paginated_with_a_link_to_the_next_page(client: Client, form: str) -> None:
    await fill(client, "2026-W40", "2026-W41", "2026-W42")
    weeks: list[str] = []
    address: str | None = f"/api/stats/napari?from=2026-W40&limit=2&format={form}"
    while address:
        response = await client.get(address)
        weeks += [row["week"] for row in table_rows(response.content, form)]
        following = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("link", ""))
        address = following[1] if following else None
        if form == "json":
            assert response.json()["next"] == address
    assert weeks == ["2026-W40", "2026-W41", "2026-W42"]


def table_rows(content: bytes, form: str) -> list[dict[str, Any]]:
    if form == "json":
        rows: list[dict[str, Any]] = json.loads(content)["rows"]
        return rows
    return list(csv.DictReader(io.StringIO(content.decode())))


async def test_csv_is_complete_unless_a_limit_is_given(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "PAGE_SIZE", 2)
    await fill(client, "2026-W40", "2026-W41", "2026-W42")
    assert len((await client.get("/api/stats/napari")).json()["rows"]) == 2
    response = await client.get("/api/stats/napari?format=csv")
    assert response.text == "week,people\n2026-W40,20\n2026-W41,20\n2026-W42,20\n"
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="people.csv"'
    assert "link" not in response.headers


async def test_numbers_are_a_304_until_new_ones_are_published(client: Client) -> None:
    await fill(client, "2026-W40")
    etag = (await client.get("/api/stats/napari")).headers["etag"]
    again = await client.get("/api/stats/napari", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await fill(client, "2026-W41")
    services_of(client).cache._checked_at = 0
    assert (await client.get("/api/stats/napari", headers={"if-none-match": etag})).status_code == 200


@pytest.mark.promise("published-once")
async def test_a_retraction_does_not_wait_for_cache_expiry(client: Client) -> None:
    from aggregation.stores.records import Records

    await fill(client, WEEK)
    assert (await client.get("/api/stats/napari")).json()["rows"]
    entry = next(one for one in CATALOGUE if one.id == "people")
    await Records(services_of(client).aggregate.engine).retract([(entry, {}, WEEK, WEEK)], "a test", publishable_from(WEEK))
    services_of(client).cache._checked_at = 0  # skip the one-second cache
    assert (await client.get("/api/stats/napari")).json()["rows"] == []


@pytest.mark.parametrize("path", ["/api/stats", "/api/stats/napari", "/api/stats/plugins/affinder", "/api/retractions"])
async def test_other_origins_may_only_read_statistics(client: Client, path: str) -> None:
    await fill(client, WEEK)
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "GET"}
    preflight = await client.options(path, headers=asked | {"access-control-request-headers": "if-none-match"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "if-none-match"
    answer = await client.get(path, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "*"
    same = await client.get(path, headers=asked | {"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.headers["access-control-allow-origin"]) == (304, "*")
    for other in ("/api/reports/find", "/api/updates/basic"):
        refused = await client.options(other, headers=asked | {"access-control-request-method": "POST"})
        assert "access-control-allow-origin" not in refused.headers


async def test_a_misspelled_name_is_a_404_with_a_suggestion(client: Client) -> None:
    response = await client.get("/api/stats/plugins/afinder")
    assert response.status_code == 404
    assert "Did you mean affinder?" in response.json()["detail"]


async def test_a_badge_shows_only_public_numbers(client: Client) -> None:
    hidden = (await client.get("/api/stats/plugins/affinder/badge")).json()
    assert hidden["message"] == "fewer than 10"
    await fill(client, WEEK)
    services_of(client).cache._checked_at = 0
    badge = (await client.get("/api/stats/plugins/Affinder/badge")).json()
    assert badge == {
        "schemaVersion": 1, "label": "installs", "message": "20+", "color": "#00629b", "isError": False, "cacheSeconds": 86400,
    }  # fmt: skip
    assert (await client.get("/api/stats/plugins/afinder/badge")).status_code == 404


async def test_every_catalogue_entry_is_served_at_its_url(client: Client) -> None:
    await fill(client, WEEK)
    offer = (await client.get("/api/stats")).json()
    assert [entry["entry"] for entry in offer["entries"]] == [
        entry.id for topic in dict.fromkeys(entry.topic for entry in CATALOGUE) for entry in CATALOGUE if entry.topic == topic
    ]
    for entry in offer["entries"]:
        numbers = (await client.get(entry["url"].replace("{plugin}", "affinder"))).json()
        assert numbers["entry"] == entry["entry"]
