"""Content of the dashboard, the plugin pages and the page of Python versions, without a browser."""

from __future__ import annotations

import re
from html import unescape

import msgspec
import pytest
from napari_telemetry.weeks import publishable_from
from packaging.version import Version
from sqlalchemy.exc import OperationalError

from aggregation.catalogue import CATALOGUE
from aggregation.publish import publish_week
from tests.support.reports import report
from tests.update_server.conftest import NOW, Client, MakeClient, services_of
from update_server.index import downloads
from update_server.index.downloads import Downloads
from update_server.pages.charts import colours_of
from update_server.settings import DEMO_MARKER

WEEKS = ["2026-W38", "2026-W39", "2026-W40"]


async def fill(client: Client) -> None:
    services = services_of(client)
    assert services.raw is not None
    for number, week in enumerate(WEEKS):
        await services.raw.put([report(person, week=week) for person in range(20 + 10 * number)])
        await publish_week(services.raw, services.aggregate, week, publishable_from(week))


async def text(client: Client, path: str) -> str:
    response = await client.get(path, headers={"accept": "text/html"})
    assert response.status_code == 200, path
    return re.sub(r"\s+", " ", unescape(response.text))


async def test_the_dashboard_has_a_chart_and_a_table_for_each_question(client: Client) -> None:
    await fill(client)
    page = await text(client, "/dashboard")
    for entry in CATALOGUE:
        if not entry.fixed or not entry.by:
            assert f'id="{entry.id}"' in page
            assert entry.question in page
        else:
            assert entry.question in page[page.index("For each plugin") :]
    assert page.count('class="plot"') == page.count("<caption>")


async def test_every_page_shows_the_age_of_the_index_and_the_licence(client: Client) -> None:
    for path in ("/", "/privacy", "/plugins"):
        page = await text(client, path)
        assert "Index of <time" in page
        assert "2026-11-20 08:00 UTC" in page
        assert "CC0" in page


async def test_breakdown_charts_have_totals_for_shares(client: Client) -> None:
    await fill(client)
    page = await text(client, "/dashboard")
    assert '<table id="people-by-python-table" data-totals="20,30,40">' in page
    assert '<table id="people-table">' in page, "the total itself has no share"
    assert '<table id="plugins-by-version-table" data-totals="20,30,40">' in await text(client, "/plugins/affinder")


async def test_version_colours_follow_the_version_order(client: Client) -> None:
    await fill(client)
    naparis = services_of(client).loaded().tables.naparis
    assert [Version(one) for one in naparis] == sorted(map(Version, naparis))
    page = await text(client, "/dashboard")
    head = page[page.index('id="people-by-napari-table"') :].partition("</thead>")[0]
    found = re.findall(r'data-colour="(\d)">([^<]+)<', head)
    versions = [version for _, version in found]
    assert found
    assert [int(colour) for colour, _ in found] == list(colours_of(versions, naparis[::-1]))


async def test_the_url_selects_the_weeks(client: Client) -> None:
    await fill(client)
    page = await text(client, f"/dashboard?from={WEEKS[0]}&to={WEEKS[1]}")
    assert "2 of 3 published weeks" in page
    table = page[page.index('id="people-table"') : page.index("</table>")]
    assert WEEKS[1] in table
    assert WEEKS[2] not in table
    assert "2 of 3 published weeks" in await text(client, f"/dashboard?from={WEEKS[1]}&to={WEEKS[0]}"), "in either order"
    bad = await client.get("/dashboard?from=2020-W01", headers={"accept": "text/html"})
    assert (bad.status_code, "not a published week" in bad.text) == (400, True)


async def test_the_url_filters_and_sorts_the_plugin_list(client: Client) -> None:
    await fill(client)
    page = await text(client, "/plugins")
    names = re.findall(r'<th scope="row"><a href="/plugins/([^"]+)"', page)
    assert names[0] == "affinder", "plugins with a number come first"
    assert "napari" not in names
    assert names == [names[0], *sorted(names[1:])]
    assert len(names) == len(services_of(client).loaded().packages) - 1
    assert re.findall(r'<a href="/plugins/([^"]+)"', await text(client, "/plugins?q=What+HARPY")) == ["napari-harpy"]
    assert "No plugin matches" in await text(client, "/plugins?q=zzz")
    released = re.findall(r'<a href="/plugins/([^"]+)"', await text(client, "/plugins?sort=released"))
    assert released[:2] == ["affinder", "napari-harpy"]
    assert '<td class="whole spare">0.5.0</td><td class="whole spare">2026-06-01</td><td class="whole">3.9 to 3.12</td>' in page
    refused = await client.get("/plugins?sort=colour", headers={"accept": "text/html"})
    assert (refused.status_code, "choose installs, name, released" in refused.text) == (400, True)


async def test_a_plugin_page_has_numbers_releases_badge_and_certificates(client: Client) -> None:
    await fill(client)
    page = await text(client, "/plugins/Affinder")
    for question in (entry.about("affinder") for entry in CATALOGUE if entry.fixed):
        assert question in page
    assert "How many people have affinder installed?" in page
    assert page.index("Which Python and napari versions does") < page.index("Who uses it?"), "releases come first"
    assert '<a href="/feeds/affinder.atom">' in page
    assert '<p class="figure">40 <span>people or more, in 2026-W40</span></p>' in page
    row = page[page.index('<th scope="row">0.5.0</th>') :]
    assert row.startswith('<th scope="row">0.5.0</th><td class="whole spare">2026-06-01</td><td>3.9 to 3.12</td>')
    assert "<dt>Rank</dt><dd>1 of 1 plugins with published numbers, 2026-W40</dd>" in page
    assert "40+" in page
    assert (
        "https://img.shields.io/endpoint?url=http%3A%2F%2Ftestserver.local%2Fapi%2Fstats%2Fplugins%2Faffinder%2Fbadge" in page
    )
    assert "No certificates have been issued" in page
    hidden = await text(client, "/plugins/napari-harpy")
    assert "Nothing is listed from 2026-W38 to 2026-W40: fewer than 10 people in each week, or none." in hidden


async def test_a_plugin_page_shows_downloads_beside_people(client: Client) -> None:
    await fill(client)
    assert "Downloads" not in await text(client, "/plugins/affinder"), "no downloads have been read"
    found = {"as_of": NOW, "packages": {"affinder": Downloads(NOW.date(), {"3.12": 750, "3.11": 250})}}
    (services_of(client).settings.data / downloads.NAME).write_bytes(msgspec.json.encode(found))
    services_of(client).page_cache._bodies.clear()  # pages are cached for a minute
    page = unescape(re.sub(r"(<[^>]+>|\s)+", " ", (await client.get("/plugins/affinder")).text))
    assert "3.12 750 75 % <10" in page
    assert "3.11 250 25 % 40" in page
    assert "not people" in page


async def test_python_support_is_available_as_json_and_csv(client: Client) -> None:
    told = (await client.get("/api/pythons")).json()
    assert (told["packages"], told["pythons"][0]) == (5, "3.8")
    support = (await client.get("/api/pythons?format=csv")).text.splitlines()
    assert support[:2] == ["python,newest_fits,only_older_fits,nothing_fits", "3.8,1,1,3"]
    months = (await client.get("/api/pythons?format=months-csv")).text.splitlines()
    assert months[0] == "day,packages,3.8,3.9,3.10,3.11,3.12"
    assert (await client.get("/api/pythons?format=xml")).status_code == 400


async def test_an_unavailable_store_is_a_503_with_retry_after(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> tuple[str, ...]:
        raise OperationalError("", {}, Exception("gone"))

    for cache in (services_of(client).cache, services_of(client).page_cache):
        monkeypatch.setattr(cache, "_read_revision", away)
        cache._checked_at = 0
    assert "The record can't be read right now" in await text(client, "/privacy")
    for path in ("/dashboard", "/plugins/affinder", "/api/stats/napari"):
        answer = await client.get(path, headers={"accept": "text/html"})
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True), path
    assert (await client.get("/api/updates?python=3.11")).status_code == 200


async def test_the_plugin_page_of_napari_redirects_to_the_dashboard(client: Client) -> None:
    answer = await client.get("/plugins/napari", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "/dashboard")


async def test_only_assets_of_this_version_are_immutable(client: Client) -> None:
    (style,) = re.findall(r"/static/style.css\?v=\w+", (await client.get("/")).text)
    assert "immutable" in (await client.get(style)).headers["cache-control"]
    for other in ("/static/style.css", "/static/style.css?v=0123456789ab"):
        assert (await client.get(other)).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/nowhere", "/plugins/afinder", "/static/../routes.py"])
async def test_a_404_is_html_for_people_and_json_for_programs(client: Client, path: str) -> None:
    page = await client.get(path, headers={"accept": "text/html,*/*"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert 'href="/plugins"' in page.text
    assert "content-security-policy" in page.headers
    assert "script-src 'self'" in (await client.get(path)).headers["content-security-policy"]
    program = await client.get(path)
    assert (program.status_code, program.headers["content-type"]) == (404, "application/problem+json")
    if "afinder" in path:
        assert "Did you mean affinder?" in page.text


async def test_pages_keep_their_etag_until_a_week_is_published(client: Client) -> None:
    await fill(client)
    for path in ("/", "/dashboard", "/plugins", "/plugins/affinder", "/pythons", "/privacy"):
        first = await client.get(path, headers={"accept-encoding": "br"})
        assert first.headers["content-encoding"] == "br"
        again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.head(path)).status_code == 200
    services = services_of(client)
    assert services.raw is not None
    etag = (await client.get("/dashboard")).headers["etag"]
    await services.raw.put([report(person, week="2026-W41") for person in range(30)])
    await publish_week(services.raw, services.aggregate, "2026-W41", NOW)
    services.page_cache._checked_at = 0
    assert (await client.get("/dashboard", headers={"if-none-match": etag})).status_code == 200


async def test_sample_data_is_marked_on_every_page(make_client: MakeClient, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / "data"
    folder.mkdir()
    (folder / DEMO_MARKER).touch()
    async with make_client() as client:
        for path in ("/", "/dashboard", "/plugins", "/plugins/affinder", "/pythons", "/privacy", "/verify", "/api/docs"):
            assert "All numbers here are sample data." in await text(client, path)
        missing = await client.get("/nowhere", headers={"accept": "text/html"})
        assert "All numbers here are sample data." in missing.text


async def test_pages_work_with_the_seed_which_has_no_texts(make_client: MakeClient) -> None:
    async with make_client(snapshot=False) as client:
        assert "affinder" in await text(client, "/plugins?q=affinder")
        assert "0.5.0" in await text(client, "/plugins/affinder")
        await text(client, "/pythons")
