"""Rate limits per client address, and how that address is determined."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from napari_telemetry.wire import Level

from aggregation.clock import Clock
from tests.support.batches import batch_json
from tests.update_server.conftest import Client, MakeClient, services_of
from update_server.intake import limiting
from update_server.intake.limiting import AddressLimits, client_address
from update_server.problems import Problem

PROXIES = tuple(ipaddress.ip_network(text) for text in ("127.0.0.1/32", "10.0.0.0/8"))


class AdjustableClock(Clock):
    def __init__(self, now: datetime) -> None:
        self.moment = now

    def now(self) -> datetime:
        return self.moment


def allowed(limits: AddressLimits, address: str, tries: int) -> int:
    """Return how many requests pass; check that the others get a Retry-After."""
    refused: list[Problem] = []
    for _ in range(tries):
        try:
            limits.check(address)
        except Problem as problem:
            refused.append(problem)
    assert all(problem.status == 429 and 1 <= int(problem.headers["retry-after"]) <= 86400 for problem in refused)
    return tries - len(refused)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # not a trusted proxy
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the first address is written by the client
        ("127.0.0.1", "203.0.113.7, 10.1.2.3", "203.0.113.7"),  # two trusted proxies
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "nonsense", "nonsense"),
        ("unknown", "203.0.113.7", "unknown"),
    ],
)
def test_forwarded_addresses_count_only_from_trusted_proxies(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, [forwarded], PROXIES) == address


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["1.1.1.1", "203.0.113.7"], "203.0.113.7"),  # a proxy may add its own line
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        ([], "127.0.0.1"),
    ],
)
def test_every_x_forwarded_for_form_is_parsed(lines: list[str], address: str) -> None:
    assert client_address("127.0.0.1", lines, PROXIES) == address


def test_the_networks_of_an_ipv6_prefix_share_a_limit() -> None:
    limits = AddressLimits("reports", 0, 5, Clock(None))
    assert sum(allowed(limits, f"2001:db8:1:{number:x}::1", 5) for number in range(30)) == 50


def test_requests_per_address_and_day_are_limited() -> None:
    limits = AddressLimits("reports", 0, 50, Clock(None))
    assert allowed(limits, "203.0.113.7", 200) == 50
    assert allowed(limits, "203.0.113.8", 10) == 10
    assert allowed(limits, "2001:db8:1:2::1", 30) + allowed(limits, "2001:db8:1:2::2", 30) == 50


def test_zero_means_no_limit() -> None:
    assert allowed(AddressLimits("reports", 0, 0, Clock(None)), "203.0.113.7", 10_000) == 10_000


@pytest.mark.promise("no-address-no-time")
def test_no_address_is_stored_and_the_key_changes_daily() -> None:
    clock = AdjustableClock(datetime(2026, 11, 24, 23, 59, tzinfo=UTC))
    limits = AddressLimits("reports", 0, 5, clock)
    limits.check("203.0.113.7")
    kept = " ".join(limits._storage.storage)
    assert "203.0.113.7" not in kept
    clock.moment += timedelta(minutes=2)
    limits.check("203.0.113.7")
    assert len(set(limits._storage.storage)) == 2, "the same address has another key on the next day"


def test_the_number_of_counters_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "MAX_COUNTERS", 100)
    limits = AddressLimits("reports", 0, 5, Clock(None))
    assert allowed(limits, "203.0.113.7", 3) == 3
    for number in range(1000):
        limits.check(f"198.51.{number // 250}.{number % 250}")
        assert len(limits._storage.storage) <= 102
    assert allowed(limits, "198.51.3.249", 9) == 4, "the latest addresses are still counted"


async def send(client: Client, address: str = "", **headers: str) -> Any:
    content = json.dumps(batch_json(Level.BASIC))
    sent = {"content-type": "application/json", "x-forwarded-for": address} | headers
    return await client.post("/api/updates/basic?python=3.11", content=content, headers=sent)


async def test_the_limit_rejects_reports_but_not_update_checks(make_client: MakeClient) -> None:
    async with make_client(reports_per_minute=3) as client:
        statuses = [(await send(client)).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await send(client)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await client.get("/api/updates?python=3.11")).status_code == 200
        assert (await client.get("/api/telemetry/allowed/basic")).status_code == 200
        assert services_of(client).metrics.registry.get_sample_value("requests_limited_total") == 3


async def test_repeated_forwarded_headers_do_not_evade_the_limit(make_client: MakeClient) -> None:
    import httpx

    async with make_client(reports_per_minute=2, trusted_proxies="127.0.0.1") as client:
        plain = [("content-type", "application/json"), ("x-forwarded-for", "203.0.113.7")]
        path, content = "/api/updates/basic?python=3.11", json.dumps(batch_json(Level.BASIC))
        statuses = []
        for number in range(4):
            headers = httpx.Headers([("x-forwarded-for", f"1.1.1.{number}"), *plain])
            statuses.append((await client.post(path, content=content, headers=headers)).status_code)
    assert statuses == [200, 200, 429, 429]


async def test_the_body_of_a_limited_request_is_not_read(make_client: MakeClient) -> None:
    async with make_client(reports_per_minute=1) as client:
        await send(client)
        bomb = await client.post("/api/updates/basic?python=3.11", content=b"x" * 100_000)
        assert bomb.status_code == 429


async def test_find_and_delete_have_a_separate_limit(make_client: MakeClient) -> None:
    async with make_client(questions_per_minute=2, reports_per_minute=1) as client:
        await send(client)
        asked = [(await client.post("/api/reports/find", json={"identifier": "0" * 32})).status_code for _ in range(3)]
        assert asked == [200, 200, 429]
        assert (await client.post("/api/reports/delete", json={"identifier": "0" * 32})).status_code == 429


@pytest.mark.promise("no-address-no-time")
def test_two_processes_use_different_keys() -> None:
    names = []
    for _ in range(2):
        limits = AddressLimits("reports", 0, 5, Clock(None))
        limits.check("203.0.113.7")
        names.append(set(limits._storage.storage))
    assert not names[0] & names[1]
