from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from napari_telemetry.wire import TELEMETRY_LEVELS, AllowList, Level

from tests.support.batches import batch_json
from tests.update_server.conftest import Client, MakeClient, services_of, without_raw_store
from update_server.intake.routes import Levels

IDENTIFIER = "9754d8f20e8124a25bb6d86c393f257a"
QUERY = "python=3.11&channel=pypi"


async def send(client: Client, batch: Any, level: Level | str = Level.FULL, **headers: str) -> Any:
    content = batch if isinstance(batch, bytes) else json.dumps(batch).encode()
    headers = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/api/updates/{level}?{QUERY}", content=content, headers=headers)


async def stored(client: Client, identifier: str = IDENTIFIER) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.post("/api/reports/find", json={"identifier": identifier})).json()["reports"]
    return found


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
async def test_a_batch_is_stored_and_answered_with_a_receipt(client: Client, level: Level) -> None:
    batch = batch_json(level)
    response = await send(client, batch, level)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    receipt = {"stored": True, "revision": 3, "reason": None, "left_out": {"plugins": 0, "commands": 0}}
    assert response.json() == {"receipt": receipt}
    (found,) = await stored(client)
    assert (found["level"], found["schema_version"]) == (str(level), 1)
    expected = batch["report"] | ({"command_usage": {}} if level is Level.FULL else {})
    assert found["report"] | ({"command_usage": {}} if level is Level.FULL else {}) == expected


@pytest.mark.promise("every-text-is-public")
async def test_values_outside_the_allow_lists_are_not_stored(client: Client) -> None:
    private = batch_json(
        Level.FULL,
        napari_version="0.6.1.dev5+gsecret",
        sys_name="SECRET-OS",
        platform="SECRET",
        cpu_architecture="SECRET",
        python_version="3.98",
        plugins=[
            {"name": "Affinder", "version": "0.5.0"},
            {"name": "affinder-secret", "version": "1.0"},
            {"name": "napari-harpy", "version": "0.1.4.dev1"},
            {"name": "affinder", "version": "0.5.0rc1"},
        ][:3],
        command_usage={"affinder.start_affinder": 10, "secret.command": 1, "napari.window.file.open_files_dialog": 1},
        data_size_info=[
            {"layer": "SECRET", "size_category": "SMALL", "ndim": 3, "class": "SECRET", "dtype": "SECRET", "count": 1}
        ],
    )
    receipt = (await send(client, private)).json()["receipt"]
    assert receipt["stored"]
    assert receipt["left_out"] == {"plugins": 2, "commands": 1}
    (found,) = await stored(client)
    report = found["report"]
    assert report["plugins"] == [{"name": "affinder", "version": "0.5.0"}]
    assert set(report["command_usage"]) == {"affinder.start_affinder", "napari.window.file.open_files_dialog"}
    assert report["napari_version"] == "development"
    assert report["python_version"] == "other"
    assert report["data_size_info"][0]["class"] == "other"
    assert "secret" not in json.dumps(report).lower()


def without(batch: dict[str, Any], field: str) -> dict[str, Any]:
    del batch["report"][field]
    return batch


def consent_for(level: str, schema_version: int = 1) -> dict[str, Any]:
    return {"consent": {"level": level, "schema_version": schema_version}}


BAD: list[tuple[str, Any, str, int, str | None]] = [
    ("not JSON", b"hello", "full", 400, None),
    ("truncated JSON", b'{"schema_version": 1', "full", 400, None),
    ("an empty body", b"", "full", 400, None),
    ("invalid UTF-8", json.dumps(batch_json(Level.FULL)).encode().replace(b"x86_64", b"\xff\xfe"), "full", 400, None),
    ("deep nesting", b'{"me": ' * 8_000 + b"1" + b"}" * 8_000, "full", 422, ""),
    ("a list", b"[]", "full", 422, ""),
    ("an unknown field", batch_json(Level.FULL, hostname="x"), "full", 422, "/report/hostname"),
    ("a missing field", without(batch_json(Level.FULL), "platform"), "full", 422, "/report/platform"),
    ("an unknown top-level field", batch_json(Level.FULL) | {"me": 1}, "full", 422, "/me"),
    ("a field above the level", batch_json(Level.MIDDLE), "basic", 422, "/report/plugins"),
    ("consent for another level", batch_json(Level.BASIC) | consent_for("full"), "basic", 422, "/consent/level"),
    ("consent for none", batch_json(Level.BASIC) | consent_for("none"), "basic", 422, "/consent/level"),
    ("an unknown level", batch_json(Level.FULL), "everything", 404, "level"),
    ("level none", batch_json(Level.FULL), "none", 404, "level"),
    ("a future schema version", batch_json(Level.FULL) | {"schema_version": 2}, "full", 422, "/schema_version"),
    ("consent for another schema", batch_json(Level.FULL) | consent_for("full", 2), "full", 422, "/consent/schema_version"),
    ("a future week", batch_json(Level.FULL, week="2026-W49"), "full", 422, "/report/week"),
    ("a closed week", batch_json(Level.FULL, week="2026-W44"), "full", 422, "/report/week"),
    ("a nonexistent week", batch_json(Level.FULL, week="2025-W53"), "full", 422, "/report/week"),
    ("a week of year zero", batch_json(Level.FULL, week="0000-W01"), "full", 422, "/report/week"),
    ("1001 plugins", batch_json(Level.FULL, plugins=[{"name": "a", "version": "1"}] * 1001), "full", 422, "/report/plugins"),
    ("a bad plugin", batch_json(Level.FULL, plugins=[{"name": "a"}]), "full", 422, "/report/plugins/..."),
    ("a huge number", batch_json(Level.FULL, revision=10**300), "full", 422, "/report/revision"),
    ("NaN", b'{"schema_version": NaN}', "full", 400, None),
    ("digits of another script", batch_json(Level.FULL, week="٢٠٢٦-W47"), "full", 422, "/report/week"),
    ("a lone surrogate", b'{"schema_version": "\\ud800"}', "full", 400, None),
]  # fmt: skip


@pytest.mark.promise("fields-above-refused")
@pytest.mark.parametrize(("batch", "level", "status", "pointer"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_bad_batch_is_rejected_and_nothing_is_stored(
    client: Client, batch: Any, level: str, status: int, pointer: str | None
) -> None:
    response = await send(client, batch, level)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), response.text
    problem = response.json()
    assert problem["detail"].endswith(".")
    if pointer:
        assert problem["pointer"].startswith(pointer.removesuffix("/..."))
    raw = services_of(client).raw
    assert raw is not None
    assert await raw.weeks() == []
    assert (await send(client, batch_json(Level.FULL))).status_code == 200, "the server still works"


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {"content_type": "text/plain"}, 415),
        (b"{}", {"content_type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"content_encoding": "br"}, 415),
        (b"not gzip", {"content_encoding": "gzip"}, 400),
        (gzip.compress(b" " * 600_000), {"content_encoding": "gzip"}, 413),
        (gzip.compress(b"{}")[:-4], {"content_encoding": "gzip"}, 400),
        (gzip.compress(b"{}") + b"more", {"content_encoding": "gzip"}, 400),
        (b" " * 70_000, {}, 413),
    ],
    ids=[
        "plain text", "a form", "brotli", "not gzip", "a gzip bomb", "truncated gzip", "data after gzip", "too long",
    ],
)  # fmt: skip
async def test_bad_encodings_and_sizes_fail(client: Client, content: bytes, headers: dict[str, str], status: int) -> None:
    response = await send(client, content, **headers)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


async def test_a_compressed_batch_is_accepted(client: Client) -> None:
    packed = gzip.compress(json.dumps(batch_json(Level.FULL)).encode())
    assert (await send(client, packed, content_encoding="gzip")).json()["receipt"]["stored"]


async def test_a_disabled_level_is_a_410(make_client: MakeClient) -> None:
    async with make_client(levels="basic,middle") as client:
        response = await send(client, batch_json(Level.FULL))
        assert (response.status_code, response.headers["content-type"]) == (410, "application/problem+json")
        assert (await client.get("/api/telemetry/allowed/full")).status_code == 410
        assert (await send(client, batch_json(Level.BASIC), Level.BASIC)).status_code == 200
        levels = (await client.get("/api/telemetry/levels")).json()["levels"]
        assert [(level["name"], level["enabled"]) for level in levels] == [("basic", True), ("middle", True), ("full", False)]


async def test_own_reports_are_found_and_deleted(client: Client) -> None:
    await send(client, batch_json(Level.FULL))
    await send(client, batch_json(Level.FULL, environment="00000001"))
    await send(client, batch_json(Level.FULL, identifier="0" * 32))
    assert len(await stored(client)) == 2
    deleted = await client.post("/api/reports/delete", json={"identifier": IDENTIFIER})
    assert (deleted.status_code, deleted.json()) == (200, {"deleted": 2})
    assert await stored(client) == []
    assert (await client.post("/api/reports/delete", json={"identifier": IDENTIFIER})).json() == {"deleted": 0}
    assert len(await stored(client, "0" * 32)) == 1


@pytest.mark.parametrize("path", ["/api/reports/find", "/api/reports/delete"])
@pytest.mark.parametrize(
    ("content", "status"), [(b"{}", 422), (b'{"identifier": "%"}', 422), (b'{"identifier": ["a"]}', 422), (b"x", 400)]
)
async def test_an_invalid_identifier_is_rejected(client: Client, path: str, content: bytes, status: int) -> None:
    response = await client.post(path, content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
async def test_the_allow_list_matches_the_level(client: Client, level: Level) -> None:
    import msgspec

    response = await client.get(f"/api/telemetry/allowed/{level}")
    allowed = msgspec.json.decode(response.content, type=AllowList)
    assert allowed.napari_versions == ["0.8.0", "0.7.1", "0.6.1", "0.5.6"]
    assert (allowed.plugins is not None) is level.includes(Level.MIDDLE)
    assert (allowed.commands is not None) is (level is Level.FULL)
    if allowed.plugins is not None:
        assert allowed.plugins["affinder"] == ["0.5.0", "0.4.0"], "no pre-release"
        assert "napari" not in allowed.plugins
    if allowed.commands is not None:
        assert allowed.commands["affinder"] == ["affinder.start_affinder"]
        assert "napari.window.file.open_files_dialog" in allowed.commands["napari"]
    again = await client.get(f"/api/telemetry/allowed/{level}", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


async def test_the_levels_endpoint_has_rules_hosts_and_fields(make_client: MakeClient) -> None:
    import msgspec

    async with make_client(level_hosts={"full": "full.example.org"}) as client:
        levels = msgspec.json.decode((await client.get("/api/telemetry/levels")).content, type=Levels)
    assert (levels.schema_versions, levels.listed_from, levels.rounded_down_to) == ([1], 10, 5)
    assert (levels.retention_days, levels.closes_after_days) == (60, 14)
    assert [(level.name, level.endpoint) for level in levels.levels] == [
        (level, f"/api/updates/{level}") for level in TELEMETRY_LEVELS
    ]
    assert levels.levels[2].host == "full.example.org"
    plugins = next(field for field in levels.levels[1].fields if field.name == "plugins")
    assert "How many people have a plugin installed?" in plugins.questions


async def test_a_level_with_a_host_is_served_only_there(make_client: MakeClient) -> None:
    """If the host of a level is blocked, no other host accepts that level."""
    hosts = {str(level): f"{level}.example.org" for level in TELEMETRY_LEVELS}
    async with make_client(level_hosts=hosts) as client:
        for host, status in (("example.org", 421), ("full.example.org", 421), ("Basic.Example.org:443", 200), ("[::1", 421)):
            at = {"host": host}
            sent = await client.post(f"/api/updates/basic?{QUERY}", json=batch_json(Level.BASIC), headers=at)
            listed = await client.get("/api/telemetry/allowed/basic", headers=at)
            assert (sent.status_code, listed.status_code) == (status, status), host
        assert "only at basic.example.org" in sent.json()["detail"]
        for verb in ("find", "delete"):
            query = {"identifier": IDENTIFIER}
            assert (await client.post(f"/api/reports/{verb}", json=query, headers={"host": "example.org"})).status_code == 421
            assert (await client.post(f"/api/reports/{verb}", json=query, headers={"host": hosts["full"]})).status_code == 200
        assert (await client.get(f"/api/updates?{QUERY}", headers={"host": "example.org"})).status_code == 200


async def test_without_a_raw_store_everything_except_intake_works(make_client: MakeClient) -> None:
    async with make_client(aggregation=without_raw_store()) as client:
        assert (await send(client, batch_json(Level.FULL))).status_code == 503
        assert (await client.post("/api/reports/find", json={"identifier": IDENTIFIER})).status_code == 503
        assert (await client.post("/api/reports/delete", json={"identifier": IDENTIFIER})).status_code == 503
        for path in ("/", "/privacy", "/dashboard", "/api/stats/napari", f"/api/updates?{QUERY}", "/api/telemetry/levels"):
            assert (await client.get(path)).status_code == 200, path
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["stores"]["raw"]) == (200, "switched off")


async def test_an_unavailable_raw_store_is_a_503_until_it_returns(client: Client) -> None:
    folder = services_of(client).settings.data / "raw"
    folder.rename(folder.with_name("elsewhere"))
    response = await send(client, batch_json(Level.FULL))
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    folder.with_name("elsewhere").rename(folder)
    assert (await send(client, batch_json(Level.FULL))).status_code == 200


async def test_a_store_error_is_a_503_and_logs_no_report_data(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    from update_server.operations import logs

    folder = services_of(client).settings.data / "raw"
    folder.rename(folder.with_name("elsewhere"))
    for form in ("json", "text"):
        logs.configure(form, "debug")
        for path in ("/api/reports/find", "/api/reports/delete"):
            response = await client.post(path, json={"identifier": IDENTIFIER})
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
        assert (await send(client, batch_json(Level.FULL))).status_code == 503
    logged = capsys.readouterr().err
    assert "raw_store_away" in logged
    assert IDENTIFIER not in logged
    assert "affinder" not in logged


async def test_an_unexpected_error_is_a_500_and_logs_no_request_data(
    client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from update_server.operations import logs

    async def fail(_: str) -> Any:
        raise RuntimeError("an unforeseen fault")

    raw = services_of(client).raw
    monkeypatch.setattr(raw, "find", fail)
    for form in ("json", "text"):
        logs.configure(form, "info")
        response = await client.post("/api/reports/find", json={"identifier": IDENTIFIER})
        assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
        assert "unforeseen" not in response.text
    logged = capsys.readouterr().err
    assert logged.count("an unforeseen fault") >= 2, "the operator sees the error"
    assert IDENTIFIER not in logged
    assert "testclient" not in logged, "no client address"
    assert "127.0.0.1" not in logged
