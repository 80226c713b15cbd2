"""The privacy page agrees with the wire types, the client's prompt and the API."""

from __future__ import annotations

import re
from html import unescape

import pytest
from napari_telemetry.wire import MEANING, TELEMETRY_LEVELS, fields_of

from aggregation.catalogue import CATALOGUE, questions_using
from tests.update_server.conftest import Client, MakeClient
from update_server.pages.promises import PROMISES

Table = dict[str, tuple[str, str, str, list[str]]]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(shared_client: Client) -> Client:
    """The shared client, because most tests here only read."""
    return shared_client


def tables(page: str) -> dict[str, Table]:
    """Return description, type, example and questions of each field, by level."""
    found = {}
    for level, text in re.findall(r'<h3 id="(\w+)">Level \w+</h3>(.*?)</section>', page, flags=re.DOTALL):
        rows = re.findall(
            r'<th scope="row"><code>(\w+)</code></th>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*'
            r"<td><code>(.*?)</code></td>\s*<td>(.*?)</td>",
            text,
            flags=re.DOTALL,
        )
        found[level] = {
            name: (
                unescape(meaning),
                unescape(form),
                unescape(example),
                [unescape(one) for one in re.findall("<li>(.*?)</li>", why)],
            )
            for name, meaning, form, example, why in rows
        }
    return found


async def test_the_privacy_page_starts_with_the_levels_in_plain_words(client: Client) -> None:
    page = (await client.get("/privacy")).text
    for text in MEANING.values():
        assert text in unescape(page)
    order = [page.index(f'id="{name}"') for name in ("levels", "who", "kept", "off", "yours", "published", "fields")]
    assert order == sorted(order)


async def test_each_question_names_the_decision_it_supports(client: Client) -> None:
    page = unescape((await client.get("/privacy")).text)
    assert all(entry.decision.endswith(".") and entry.decision in page for entry in CATALOGUE)
    assert len({entry.decision for entry in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.promise("same-fields-everywhere")
async def test_page_wire_types_and_api_describe_the_same_fields(client: Client) -> None:
    page = tables((await client.get("/privacy")).text)
    told = {level["name"]: level for level in (await client.get("/api/telemetry/levels")).json()["levels"]}
    assert list(page) == list(told) == [str(level) for level in TELEMETRY_LEVELS]
    for level in TELEMETRY_LEVELS:
        wire = {field.name: field for field in fields_of(level)}
        of_api = {field["name"]: field for field in told[level]["fields"]}
        assert list(page[level]) == list(wire) == list(of_api)
        for name, (meaning, form, example, questions) in page[level].items():
            assert (
                (meaning, form)
                == (wire[name].description, wire[name].type)
                == (of_api[name]["description"], of_api[name]["type"])
            )
            assert example
            assert questions == of_api[name]["questions"] == list(questions_using(name))


async def test_every_promise_is_on_the_page(client: Client) -> None:
    page = unescape((await client.get("/privacy")).text)
    page = re.sub("</?(code|em)>", "", page)
    for texts in PROMISES.values():
        for promise in texts.values():
            assert re.sub("[`*]", "", promise) in page


async def test_the_page_lists_opt_outs_level_hosts_and_contact(make_client: MakeClient) -> None:
    hosts = {"basic": "basic.example.org", "middle": "middle.example.org", "full": "full.example.org"}
    async with make_client(contact="privacy@example.org", level_hosts=hosts) as client:
        page = (await client.get("/privacy")).text
    off = re.sub("</?(code|em)>", "", page[page.index('id="off"') : page.index('id="yours"')])
    ways = (
        "then Off",
        "napari-telemetry off",
        "Uninstalling",
        "NAPARI_TELEMETRY=0",
        "DO_NOT_TRACK=1",
        "NAPARI_UPDATE_CHECK=0",
        "site.json",
    )
    for way in ways:
        assert way in off
    for host in hosts.values():
        assert host in page
    assert "write to privacy@example.org" in page
