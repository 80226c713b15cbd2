from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from napari_telemetry.wire import TELEMETRY_LEVELS, batch_decoder, fields_of

from tests.update_server.conftest import Client, MakeClient

PAGES = ("/", "/privacy", "/dashboard", "/plugins", "/plugins/affinder", "/pythons", "/verify", "/api/docs")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(shared_client: Client) -> Client:
    """The shared client, because most tests here only read."""
    return shared_client


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.loaded: list[str] = []
        self.links_away: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = [value for name, value in attrs if name in ("href", "src") and value]
        if tag == "a" and found and found[0].startswith("http"):
            self.links_away.append(dict(attrs))
        else:
            self.addresses += found
            self.loaded += found if tag != "a" else []
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")], "the CSP forbids it"

    def handle_data(self, data: str) -> None:
        self.text += data


async def page(client: Client, path: str) -> Page:
    response = await client.get(path)
    assert response.status_code == 200, path
    assert response.headers["content-type"].startswith("text/html")
    return Page(response.text)


@pytest.mark.promise("pages-load-nothing-else")
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_nothing_from_other_hosts(client: Client, path: str) -> None:
    response = await client.get(path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "set-cookie" not in response.headers
    assert response.headers["referrer-policy"] == "no-referrer"
    shown = Page(response.text)
    assert shown.loaded
    assert all(address.startswith("/static/") for address in shown.loaded)
    assert all(link["rel"] == "noreferrer" for link in shown.links_away)
    assert "style" not in shown.tags
    assert not re.search(r"<script(?![^>]*src=)", response.text), "the CSP forbids inline scripts"


@pytest.mark.parametrize("path", PAGES)
async def test_there_are_no_dead_links(client: Client, path: str) -> None:
    for address in (await page(client, path)).addresses:
        if not address.startswith("#"):
            assert (await client.get(address)).status_code == 200, address


async def test_examples_on_the_privacy_page_are_valid_batches(client: Client) -> None:
    from update_server.pages.example import example_batch

    shown = await page(client, "/privacy")
    for level in TELEMETRY_LEVELS:
        text = example_batch(level)
        assert text in shown.text
        batch_decoder(level).decode(text)


async def test_disabled_levels_hosts_and_contact_are_shown(make_client: MakeClient) -> None:
    async with make_client(levels="basic", contact="privacy@example.org", level_hosts={"basic": "basic.example.org"}) as client:
        text = (await page(client, "/privacy")).text
    assert text.count("does not accept it") == 2
    assert "privacy@example.org" in text
    assert "basic.example.org" in text


async def test_the_dashboard_says_that_no_week_is_published(client: Client) -> None:
    assert "No week has been published yet" in (await page(client, "/dashboard")).text


async def test_openapi_bodies_match_the_structs_that_decode_them(client: Client) -> None:
    schema = (await client.get("/api/openapi.json")).json()
    body = schema["paths"]["/api/updates/{level}"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["examples"]) == {str(level) for level in TELEMETRY_LEVELS}
    names = [reference["$ref"].rsplit("/", 1)[1] for reference in body["schema"]["oneOf"]]
    for level, name in zip(TELEMETRY_LEVELS, names, strict=True):
        batch = schema["components"]["schemas"][name]
        report = schema["components"]["schemas"][batch["properties"]["report"]["$ref"].rsplit("/", 1)[1]]
        assert set(report["properties"]) == {field.name for field in fields_of(level)}
        assert report["additionalProperties"] is False
