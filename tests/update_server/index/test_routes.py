from __future__ import annotations

import hashlib
import json
from pathlib import Path

import brotli
import pytest

from tests.support.facts import facts_of, index_of
from tests.support.made_upstream import MadeUpstream
from tests.update_server.conftest import Client, MakeClient, services_of


async def test_updates_are_those_that_this_python_can_install(client: Client) -> None:
    response = await client.get("/api/updates", params={"python": "3.10"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "public" in response.headers["cache-control"]
    body = response.json()
    assert (body["schema_version"], body["python"], body["channel"], body["check_again_s"]) == (1, "3.10", "pypi", 86400)
    assert body["packages"]["napari-harpy"] == {"latest": None, "newest": "0.1.3", "newest_requires_python": ">=3.12"}


async def test_the_etag_is_computed_from_the_body_and_answers_304_in_every_encoding(client: Client) -> None:
    services = services_of(client)
    await services.keeper.encode()
    identity = await client.get("/api/updates?python=3.10", headers={"accept-encoding": "identity"})
    etag = hashlib.sha256(identity.content).hexdigest()[:32]
    assert identity.headers["etag"] == f'"{etag}"'
    for encoding in ("br", "zstd", "gzip"):
        response = await client.get("/api/updates?python=3.10", headers={"accept-encoding": encoding})
        assert response.headers["etag"] == f'"{etag}-{encoding}"'
        assert response.headers["content-encoding"] == encoding
        assert response.headers["vary"] == "accept-encoding"
        for known in (f'"{etag}"', f'"{etag}-gzip"', f'W/"x", "{etag}-br"', "*"):
            not_modified = await client.get(
                "/api/updates?python=3.10", headers={"accept-encoding": encoding, "if-none-match": known}
            )
            assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert (await client.get("/api/updates?python=3.10", headers={"if-none-match": '"other"'})).status_code == 200


async def test_the_smallest_encoding_that_is_accepted_is_sent(client: Client) -> None:
    await services_of(client).keeper.encode()
    response = await client.send(
        client.build_request("GET", "/api/updates?python=3.10", headers={"accept-encoding": "gzip, br;q=0.5, zstd;q=0"}),
        stream=True,
    )
    raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "br"
    assert json.loads(brotli.decompress(raw))["python"] == "3.10"


async def test_head_has_the_headers_and_no_body(client: Client) -> None:
    response = await client.head("/api/updates?python=3.10")
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
        ("python=3.10&python=3.11", None),
        ("python=%FF", "python"),
        ("&".join(f"a{number}=1" for number in range(40)), None),
        ("python=3.11&x=" + "y" * 60_000, None),
        ("python=3." + "1" * 200, "python"),
    ],
)
async def test_a_bad_question_is_a_problem_that_says_what_is_wrong(client: Client, query: str, pointer: str | None) -> None:
    response = await client.get(f"/api/updates?{query}")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == 400
    assert problem["title"] == "Bad Request"
    assert problem["detail"].endswith(".")
    assert problem.get("pointer") == pointer
    assert (await client.get("/api/updates?python=3.10")).status_code == 200


async def test_a_python_that_does_not_exist_yet_gets_an_answer(client: Client) -> None:
    assert (await client.get("/api/updates?python=3.57")).json()["python"] == "3.57"


async def test_plugins_and_summary_answer_like_todays_index(client: Client) -> None:
    upstream = MadeUpstream()
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
            assert list(response.json()) == list(expected), "the order too"


async def test_names_are_normalized_on_the_way_in(client: Client) -> None:
    assert (await client.get("/api/pypi/SOME_plugin")).json()["info"]["name"] == "Some.Plugin"


@pytest.mark.parametrize(
    "path", ["/api/pypi/nope", "/api/manifest/nope", "/api/conda/napari-harpy", "/api/shields/nope", "/nope"]
)
async def test_what_is_not_there_is_a_404(client: Client, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


async def test_texts_are_compressed_and_not_sent_again(client: Client) -> None:
    response = await client.get("/api/extended_summary", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    again = await client.get("/api/extended_summary", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304
    plain = await client.get("/api/extended_summary", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert (await client.head("/api/plugins")).status_code == 200


async def test_a_badge_has_the_shape_of_shields(client: Client) -> None:
    badge = (await client.get("/api/shields/affinder")).json()
    assert badge["schemaVersion"] == 1
    assert "affinder" in badge["message"]
    assert set(badge) == {"schemaVersion", "label", "message", "color"}


async def test_from_the_seed_facts_are_served_and_texts_are_503(make_client: MakeClient) -> None:
    async with make_client(snapshot=False) as client:
        updates = await client.get("/api/updates?python=3.10")
        assert updates.status_code == 200
        assert len(updates.json()["packages"]) > 600
        assert len((await client.get("/api/plugins")).json()) > 600
        for path in (
            "/api/extended_summary",
            "/api/manifest/affinder",
            "/api/conda",
            "/api/updates?python=3.10&channel=conda-forge",
        ):
            response = await client.get(path)
            assert response.status_code == 503, path
            assert int(response.headers["retry-after"]) > 0
        ready = (await client.get("/health/ready")).json()
        assert (ready["status"], ready["index"]["origin"]) == ("degraded", "seed")
        assert ready["index"]["as_of"] == updates.json()["index_version"]
        assert "2026-08-22" in (await client.get("/")).text


async def test_without_any_index_updates_are_503_until_one_comes(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.sqlite3").write_bytes(b"broken")
    async with make_client() as client:
        response = await client.get("/api/updates?python=3.10")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "index.sqlite3" in response.json()["detail"]
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/")).status_code == 200
        services_of(client).keeper.replace(index_of())
        assert (await client.get("/api/updates?python=3.10")).status_code == 200
        assert (await client.get("/health/ready")).json()["status"] == "ok"


async def test_projects_that_could_not_be_read_are_in_errors_with_the_reason(client: Client) -> None:
    from update_server.index.snapshot import Index, Origin, Stale

    made = index_of()
    services_of(client).keeper.replace(
        Index(facts_of(), Origin.REFRESH, made.documents, stale={"affinder": Stale(None, "answered 500")})
    )
    errors = (await client.get("/errors.json")).json()
    assert errors["affinder"] == {"version": "0.5.0", "error": "answered 500"}
    assert "some-library" in errors
    ready = (await client.get("/health/ready")).json()
    assert "affinder" in ready["index"]["stale"]


async def test_an_answer_that_is_remembered_is_that_of_the_index_that_is_served(client: Client) -> None:
    from tests.support.made_upstream import PLUGINS, MadeFile, MadeProject

    services = services_of(client)
    await services.keeper.encode()
    for _ in range(2):
        assert "newcomer" not in (await client.get("/api/updates?python=3.11")).json()["packages"]
    assert services.served().answers, "it is remembered"
    services.keeper.replace(index_of([*PLUGINS, MadeProject("newcomer", {"1.0": [MadeFile()]})]))
    assert "newcomer" in (await client.get("/api/updates?python=3.11")).json()["packages"]
    await services.keeper.encode()
    response = await client.get("/api/updates?python=3.11", headers={"accept-encoding": "br"})
    assert response.headers["content-encoding"] == "br", "an answer from before its encodings were ready is not kept"
