from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import brotli
import msgspec
import pytest

from tests.support.facts import AS_OF, facts_of, index_of
from tests.support.sample_upstream import PLUGINS, FakeUpstream, SampleCondaFile, SampleFile, SampleProject
from tests.update_server.conftest import Client, MakeClient, services_of
from update_server.index.answers import Answers, Question, versions_of_user_agent
from update_server.index.pythons import PythonVersion

TABLE = "/api/updates/pypi.json"


async def test_the_table_is_identical_for_all_clients(client: Client) -> None:
    asked = [
        await client.get(TABLE),
        await client.get(f"{TABLE}?python=3.10&napari=0.6.1"),
        await client.get(TABLE, headers={"user-agent": "napari/0.6.1 runtime/python CPython/3.10.4 Linux/6.1"}),
        await client.get(TABLE, headers={"x-forwarded-for": "203.0.113.7", "cookie": "id=1", "accept-language": "de"}),
    ]
    assert len({response.content for response in asked}) == 1
    assert len({response.headers["etag"] for response in asked}) == 1
    for response in asked:
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"].startswith("public, max-age=")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["vary"] == "accept-encoding"
        assert "set-cookie" not in response.headers


async def test_the_table_lists_every_release_that_may_be_chosen(client: Client) -> None:
    table = (await client.get(TABLE)).json()
    assert {name: table[name] for name in table if name != "packages"} == {
        "schema_version": 2,
        "channel": "pypi",
        "index_version": "2026-11-20T08:00:00Z",
        "check_again_s": 86400,
        "takes_reports": True,
    }
    assert table["packages"] == {
        "napari": {
            "releases": [
                {"version": "0.8.0", "requires_python": ">=3.11"},
                {"version": "0.7.1", "requires_python": ">=3.10"},
                {"version": "0.6.1", "requires_python": ">=3.9"},
                {"version": "0.5.6", "requires_python": ">=3.9"},
            ]
        },
        "affinder": {
            "releases": [{"version": "0.5.0", "requires_python": ">=3.9"}, {"version": "0.4.0", "requires_python": ">=3.8"}]
        },
        "napari-harpy": {"releases": [{"version": "0.1.3", "requires_python": ">=3.12"}]},
        "micro-sam": {
            "releases": [{"version": "1.8.10", "requires_python": ">=3.11"}, {"version": "1.5.0", "requires_python": ">=3.9"}]
        },
        "some-plugin": {"releases": [{"version": "1.2.0"}], "yanked": {"1.1.0": "broken wheel"}},
        "compiled-plugin": {"releases": [{"version": "2.0", "requires_python": "==3.9.*"}]},
    }
    on_conda = (await client.get("/api/updates/conda-forge.json")).json()["packages"]
    assert on_conda == {
        "affinder": {
            "releases": [{"version": "0.5.0", "requires_python": ">=3.10"}, {"version": "0.4.0"}],
        },
        "micro-sam": {"releases": [{"version": "1.8.10", "requires_python": ">=3.11"}], "conda_name": "micro_sam"},
    }


async def test_updates_are_compatible_with_the_python_version(client: Client) -> None:
    response = await client.get("/api/updates", params={"python": "3.10"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "public" in response.headers["cache-control"]
    assert response.headers["x-content-type-options"] == "nosniff"
    body = response.json()
    assert (body["schema_version"], body["python"], body["channel"], body["check_again_s"]) == (1, "3.10", "pypi", 86400)
    assert body["packages"] == {
        "napari": {"latest": "0.7.1", "newest": "0.8.0", "newest_requires_python": ">=3.11"},
        "affinder": {"latest": "0.5.0"},
        "napari-harpy": {"latest": None, "newest": "0.1.3", "newest_requires_python": ">=3.12"},
        "micro-sam": {"latest": "1.5.0", "newest": "1.8.10", "newest_requires_python": ">=3.11"},
        "some-plugin": {"latest": "1.2.0", "yanked": {"1.1.0": "broken wheel"}},
        "compiled-plugin": {"latest": None, "newest": "2.0", "newest_requires_python": "==3.9.*"},
    }
    on_conda = (await client.get("/api/updates?python=3.9&channel=conda-forge")).json()["packages"]
    assert on_conda["affinder"] == {"latest": "0.4.0", "newest": "0.5.0", "newest_requires_python": ">=3.10"}


async def test_the_etag_hashes_the_body_and_gives_304_in_every_encoding(client: Client) -> None:
    identity = await client.get(TABLE, headers={"accept-encoding": "identity"})
    etag = hashlib.sha256(identity.content).hexdigest()[:32]
    assert identity.headers["etag"] == f'"{etag}"'
    for encoding in ("br", "gzip"):
        response = await client.get(TABLE, headers={"accept-encoding": encoding})
        assert response.headers["etag"] == f'"{etag}-{encoding}"'
        assert response.headers["content-encoding"] == encoding
        for known in (f'"{etag}"', f'"{etag}-gzip"', f'W/"x", "{etag}-br"', "*"):
            not_modified = await client.get(TABLE, headers={"accept-encoding": encoding, "if-none-match": known})
            assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert (await client.get(TABLE, headers={"if-none-match": '"other"'})).status_code == 200


async def test_the_smallest_accepted_encoding_is_sent(client: Client) -> None:
    accepted = {"accept-encoding": "gzip, br;q=0.5"}
    response = await client.send(client.build_request("GET", TABLE, headers=accepted), stream=True)
    raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "br"
    assert json.loads(brotli.decompress(raw))["channel"] == "pypi"


@pytest.mark.parametrize(
    "path", [TABLE, "/api/updates?python=3.10", "/api/plugins", "/api/extended_summary", "/api/pypi/affinder"]
)
async def test_head_returns_headers_without_a_body(client: Client, path: str) -> None:
    response = await client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "python"),
        ("python=", "python"),
        ("python=2.7", "python"),
        ("python=abc", "python"),
        ("python=3.10&channel=bioconda", "channel"),
        ("python=3.10&napari=new", "napari"),
        ("python=%FF", "python"),
        ("python=3." + "1" * 200, "python"),
    ],
)
async def test_a_bad_query_is_a_problem_that_names_the_parameter(client: Client, query: str, pointer: str | None) -> None:
    response = await client.get(f"/api/updates?{query}")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == 400
    assert problem["title"] == "Bad Request"
    assert problem["detail"].endswith(".")
    assert problem.get("pointer") == pointer
    assert (await client.get("/api/updates?python=3.10")).status_code == 200


async def test_a_future_python_version_gets_an_answer(client: Client) -> None:
    assert (await client.get("/api/updates?python=3.57")).json()["python"] == "3.57"


async def test_endpoints_answer_like_the_existing_index(client: Client) -> None:
    upstream = FakeUpstream()
    for paths in (
        ("/api/plugins", "/index.json"),
        ("/api/extended_summary", "/extended_summary.json"),
        ("/api/conda", "/api/conda-map", "/conda.json"),
        ("/api/readers", "/readers.json"),
        ("/classifiers.json",),
        ("/errors.json",),
        ("/api/pypi/affinder",),
        ("/api/manifest/affinder",),
        ("/api/conda/affinder",),
    ):
        expected = json.loads(upstream.answer(paths[0]) or b"")
        for path in paths:
            response = await client.get(path)
            assert response.status_code == 200, path
            assert response.headers["content-type"] == "application/json"
            assert response.json() == expected
            assert list(response.json()) == list(expected), "in the same order"


async def test_plugin_names_in_urls_are_normalized(client: Client) -> None:
    assert (await client.get("/api/pypi/SOME_plugin")).json()["info"]["name"] == "Some.Plugin"


@pytest.mark.parametrize(
    "path",
    ["/api/pypi/nope", "/api/manifest/nope", "/api/conda/napari-harpy", "/feeds/nope.atom", "/nope"],
)
async def test_unknown_names_and_paths_are_a_404(client: Client, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


async def test_texts_are_compressed_and_support_304(client: Client) -> None:
    response = await client.get("/api/extended_summary", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    again = await client.get("/api/extended_summary", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304
    plain = await client.get("/api/extended_summary", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert (await client.head("/api/plugins")).status_code == 200


async def test_badges_are_those_of_the_existing_index(client: Client) -> None:
    for path in ("/api/shields/affinder", "/shields/affinder", "/api/shields/Affinder"):
        badge = (await client.get(path)).json()
        assert {name: badge[name] for name in badge if name != "logoSvg"} == {
            "color": "#0074B8",
            "label": "napari hub",
            "message": "affinder",
            "schemaVersion": 1,
            "style": "flat-square",
        }
        assert badge["logoSvg"].startswith("<svg")
    unknown = await client.get("/shields/nope")
    assert (unknown.status_code, unknown.json()["message"], unknown.json()["color"]) == (200, "unavailable", "#82001A")


async def test_hub_paths_are_served_on_its_host_name(client: Client) -> None:
    hub = {"host": "api.napari-hub.org"}
    for path in ("/shields/affinder", "/plugins", "/extended_summary", "/manifest/affinder", "/conda/affinder"):
        assert (await client.get(path, headers=hub)).json() == (await client.get(f"/api{path}")).json(), path
    for path in ("/api/plugins", "/health/live"):
        assert (await client.get(path, headers=hub)).json() == (await client.get(path)).json()
    assert (await client.get("/plugins")).headers["content-type"].startswith("text/html")


NAPARI = "napari/0.6.1 runtime/python CPython/3.10.4 Linux/6.1"


@pytest.mark.parametrize(
    ("user_agent", "versions"),
    [
        (NAPARI, (PythonVersion(10, 4), "0.6.1")),
        ("napari/0.5.0a2.dev489+g8a9df482c runtime/ipython CPython/3.14.0rc1 Darwin/23.5.0", (PythonVersion(14, 0), "0.5.0")),
        ("napari/0.6.1 runtime/constructor CPython/3.11.9+ Windows/10", (PythonVersion(11, 9), "0.6.1")),
        ("napari/0.6.1 runtime/python PyPy/3.10.4 Linux/6.1", None),
        ("Mozilla/5.0 CPython/3.10.4", None),
        ("napari/0.6.1 runtime/python CPython/2.7.18 Linux/6.1", None),
        ("napari/0.6.1 CPython/3.999999999999.1", None),
        ("napari/new CPython/3.10.4", None),
        ("", None),
    ],
)
def test_versions_are_read_from_the_user_agent(user_agent: str, versions: tuple[PythonVersion, str] | None) -> None:
    assert versions_of_user_agent(user_agent) == versions


async def test_plugins_are_compatible_with_the_python_version(client: Client) -> None:
    for path in ("/api/plugins", "/index.json"):
        assert (await client.get(path, params={"python": "3.10"})).json() == {
            "napari": "0.7.1",
            "affinder": "0.5.0",
            "micro_sam": "1.5.0",
            "Some.Plugin": "1.2.0",
        }
    assert (await client.get("/api/plugins?python=3.9")).json()["compiled-plugin"] == "2.0"
    assert (await client.get("/api/plugins?python=2.7")).status_code == 400
    assert (await client.get("/api/plugins?napari=new")).status_code == 400
    assert len((await client.get("/api/plugins")).json()) == 6


async def test_the_summary_lists_only_compatible_versions(client: Client) -> None:
    whole = {item["name"]: item for item in (await client.get("/api/extended_summary")).json()}
    cut = {item["name"]: item for item in (await client.get("/api/extended_summary?python=3.9")).json()}
    assert "napari-harpy" in whole
    assert "napari-harpy" not in cut, "no version of it is compatible"
    assert cut["napari"]["version"] == "0.6.1"
    assert cut["napari"]["pypi_versions"] == ["0.6.1", "0.5.6"]
    assert cut["affinder"]["pypi_versions"] == ["0.5.0", "0.5.0rc1", "0.4.0"]
    assert cut["affinder"]["conda_versions"] == ["0.4.0"]
    assert cut["Some.Plugin"]["pypi_versions"] == ["1.2.0"], "a yanked version cannot be installed"
    for name, item in cut.items():
        same = ("normalized_name", "display_name", "summary", "author", "license", "home_page", "project_url")
        assert {key: item[key] for key in same} == {key: whole[name][key] for key in same}
        assert list(item) == list(whole[name]), "keys and their order do not change"


PINNED = SampleProject(
    "pinned",
    {"1.0": [SampleFile()], "1.1": [SampleFile()]},
    conda=[SampleCondaFile("1.0", ["python"]), SampleCondaFile("1.1", ["python", "napari >=0.7"])],
)


async def with_pinned(client: Client) -> None:
    """Add a plugin whose newest release needs napari 0.7."""
    index = index_of([*PLUGINS, PINNED])
    *others, pinned = index.facts.packages
    newest, older = pinned.releases
    releases = (msgspec.structs.replace(newest, requires=("napari>=0.7",)), older)
    packages = (*others, msgspec.structs.replace(pinned, releases=releases))
    facts = msgspec.structs.replace(index.facts, packages=packages)
    services_of(client).index.replace(msgspec.structs.replace(index, facts=facts))


async def test_unmodified_napari_gets_compatible_versions(client: Client) -> None:
    await with_pinned(client)
    for path in ("/api/extended_summary", "/api/plugins"):
        asked = await client.get(f"{path}?python=3.10.4&napari=0.6.1")
        unasked = await client.get(path, headers={"user-agent": NAPARI})
        assert unasked.json() == asked.json()
        assert "user-agent" in unasked.headers["vary"]
        other = await client.get(path, headers={"user-agent": "curl/8.0"})
        assert len(other.json()) == 7
        assert "user-agent" in other.headers["vary"], "a cache must distinguish them"
    assert unasked.json()["pinned"] == "1.0"
    cut = {item["name"]: item for item in (await client.get("/api/extended_summary", headers={"user-agent": NAPARI})).json()}
    assert (cut["pinned"]["version"], cut["pinned"]["pypi_versions"], cut["pinned"]["conda_versions"]) == (
        "1.0",
        ["1.0"],
        ["1.0"],
    )
    newer = (await client.get("/api/plugins", headers={"user-agent": NAPARI.replace("0.6.1", "0.7.1")})).json()
    assert newer["pinned"] == "1.1"
    file = await client.get("/extended_summary.json", headers={"user-agent": NAPARI})
    assert len(file.json()) == 7, "the file is the same for all clients"
    told = (await client.get("/api/updates?python=3.11&napari=0.6.1")).json()["packages"]["pinned"]
    assert told == {"latest": "1.0", "newest": "1.1", "newest_requires_napari": ">=0.7"}


async def test_versions_from_the_user_agent_can_be_disabled(make_client: MakeClient) -> None:
    async with make_client(versions_from_user_agent=False) as client:
        response = await client.get("/api/extended_summary", headers={"user-agent": NAPARI})
        assert len(response.json()) == 6
        assert response.headers["vary"] == "accept-encoding"


async def test_each_distinct_answer_is_built_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_pinned(client)
    answers, made = services_of(client).loaded().answers, list[Question]()
    make = Answers.make
    monkeypatch.setattr(
        Answers,
        "make",
        lambda self, question: made.append(question) or make(self, question),  # type: ignore[func-returns-value]
    )
    asked = [Question("updates", PythonVersion(11, patch), f"0.7.{patch}") for patch in range(1, 151)]
    bodies = await asyncio.gather(*(answers.get(question) for question in asked[:20]), return_exceptions=True)
    assert len({id(body) for body in bodies}) == 1, "one answer for napari versions that no release distinguishes"
    assert [await answers.get(question) for question in asked] == [bodies[0]] * 150
    assert len(made) == 1


async def test_waiting_is_limited_and_cached_answers_do_not_wait(client: Client) -> None:
    answers = services_of(client).loaded().answers
    ready = await answers.get(Question("plugins", PythonVersion(11)))
    await answers._build_lock.acquire()  # block the creation of answers
    same = [asyncio.create_task(answers.get(Question("updates", PythonVersion(11)))) for _ in range(100)]
    others = [asyncio.create_task(answers.get(Question("updates", PythonVersion(minor)))) for minor in range(40, 71)]
    await asyncio.sleep(0)
    busy = await client.get("/api/updates?python=3.12")
    assert (busy.status_code, int(busy.headers["retry-after"]) > 0) == (503, True)
    assert await answers.get(Question("plugins", PythonVersion(11))) is ready
    assert (await client.get(TABLE)).status_code == 200
    answers._build_lock.release()
    assert len(set(map(id, await asyncio.gather(*same)))) == 1, "waiting clients share an answer"
    assert len(await asyncio.gather(*others)) == 31


async def test_the_seed_serves_facts_and_a_503_for_texts(make_client: MakeClient) -> None:
    async with make_client(snapshot=False) as client:
        updates = await client.get(TABLE)
        assert updates.status_code == 200
        assert len(updates.json()["packages"]) > 600
        assert (await client.get("/api/updates?python=3.10")).status_code == 200
        assert len((await client.get("/api/plugins")).json()) > 600
        for path in (
            "/api/extended_summary",
            "/api/manifest/affinder",
            "/api/conda",
            "/api/updates/conda-forge.json",
            "/api/updates?python=3.10&channel=conda-forge",
        ):
            response = await client.get(path)
            assert response.status_code == 503, path
            assert int(response.headers["retry-after"]) > 0
        ready = (await client.get("/health/ready")).json()
        assert (ready["status"], ready["index"]["origin"]) == ("degraded", "seed")
        assert ready["index"]["as_of"] == updates.json()["index_version"]
        assert "2026-08-22" in (await client.get("/")).text


async def test_updates_are_a_503_until_there_is_an_index(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.snapshot").write_bytes(b"broken")
    async with make_client() as client:
        response = await client.get("/api/updates?python=3.10")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "index.snapshot" in response.json()["detail"]
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/")).status_code == 200
        services_of(client).index.replace(index_of())
        assert (await client.get("/api/updates?python=3.10")).status_code == 200
        assert (await client.get("/health/ready")).json()["status"] == "ok"


async def test_unreadable_projects_are_in_errors_with_the_reason(client: Client) -> None:
    from update_server.index.snapshot import Index, Origin, Stale

    made = index_of()
    services_of(client).index.replace(
        Index(facts_of(), Origin.REFRESH, made.documents, stale={"affinder": Stale(None, "answered 500")})
    )
    errors = (await client.get("/errors.json")).json()
    assert errors["affinder"] == {"version": "0.5.0", "error": "answered 500"}
    assert "some-library" in errors
    ready = (await client.get("/health/ready")).json()
    assert "affinder" in ready["index"]["stale"]


async def test_a_new_index_replaces_cached_answers(client: Client) -> None:
    services = services_of(client)
    for path in ("/api/updates?python=3.11", TABLE, "/api/plugins?python=3.11"):
        assert "newcomer" not in (await client.get(path)).text
    services.index.replace(index_of([*PLUGINS, SampleProject("newcomer", {"1.0": [SampleFile()]})]))
    for path in ("/api/updates?python=3.11", TABLE, "/api/plugins?python=3.11"):
        assert "newcomer" in (await client.get(path)).text


async def test_a_refresh_without_changes_keeps_the_table(client: Client) -> None:
    before = await client.get(TABLE)
    services = services_of(client)
    services.index.replace(index_of(as_of=AS_OF + timedelta(hours=2)))
    after = await client.get(TABLE)
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    services.index.replace(index_of(PLUGINS[1:], as_of=AS_OF + timedelta(hours=4)))
    assert (await client.get(TABLE)).json()["index_version"] == "2026-11-20T12:00:00Z"


async def test_a_feed_lists_releases_and_their_requirements(client: Client) -> None:
    atom = "{http://www.w3.org/2005/Atom}"
    for path, count in (("/feeds/affinder.atom", 3), ("/feeds/Affinder.atom", 3), ("/feeds/all.atom", 8)):
        response = await client.get(path)
        assert response.headers["content-type"] == "application/atom+xml"
        feed = ElementTree.fromstring(response.content)
        entries = feed.findall(f"{atom}entry")
        assert len(entries) == count
        for element in (feed, *entries):
            assert element.findtext(f"{atom}id")
            assert element.findtext(f"{atom}title")
            assert datetime.fromisoformat(str(element.findtext(f"{atom}updated")))
    assert feed.findtext(f"{atom}updated") == "2026-09-01T00:00:00Z"
    assert entries[1].findtext(f"{atom}title") == "affinder 0.5.0"
    assert entries[1].findtext(f"{atom}content") == "Python: >=3.9. napari: any."
    link = entries[1].find(f"{atom}link")
    assert link is not None
    assert link.get("href") == "https://pypi.org/project/affinder/0.5.0/"


async def test_vulnerable_releases_are_listed_on_both_channels(client: Client) -> None:
    index = index_of()
    packages = tuple(
        msgspec.structs.replace(package, vulnerabilities={"0.4.0": ("PYSEC-2026-1",)}) if package.key == "affinder" else package
        for package in index.facts.packages
    )
    services_of(client).index.replace(
        msgspec.structs.replace(index, facts=msgspec.structs.replace(index.facts, packages=packages))
    )
    for channel in ("pypi", "conda-forge"):
        table = (await client.get(f"/api/updates/{channel}.json")).json()
        assert table["packages"]["affinder"]["vulnerabilities"] == {"0.4.0": ["PYSEC-2026-1"]}
