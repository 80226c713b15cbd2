"""Hostile requests without sockets never cause a 5xx or a hang. ``TEST_FUZZ``: number of cases (100,000 in CI)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

from aggregation.settings import Store
from migrations import upgrade
from tests.support.batches import batch_json
from tests.support.facts import write_snapshot
from tests.update_server.conftest import NOW
from update_server.app import create_app
from update_server.settings import Settings

CASES = int(os.environ.get("TEST_FUZZ", "3000"))
VARIANTS = 10
"""Number of cases per Hypothesis example."""


class Harness:
    """The running application in its own event loop."""

    def __init__(self, folder: Path) -> None:
        write_snapshot(folder)
        limits: dict[str, Any] = {"reports_per_minute": 0, "reports_per_day": 0, "questions_per_minute": 0}
        chosen = Settings(data=folder, now=NOW, jobs=False, log_level="error", **limits)
        self.loop = asyncio.new_event_loop()
        for store in Store:
            url = chosen.aggregation.url(store)
            assert url is not None
            self.loop.run_until_complete(upgrade(store, url))
        self.app = create_app(chosen)
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        self._life = self.loop.create_task(self._live())
        self.loop.run_until_complete(self._ready.wait())

    async def _live(self) -> None:
        async with self.app.lifespan():
            self._ready.set()
            await self._ended.wait()

    def close(self) -> None:
        self._ended.set()
        self.loop.run_until_complete(self._life)
        self.loop.close()

    def status(self, path: str, query: bytes, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> int:
        return self.loop.run_until_complete(asyncio.wait_for(self._status(path, query, headers, chunks), 15))

    async def _status(self, path: str, query: bytes, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> int:
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
            "raw_path": path.encode(), "query_string": query, "root_path": "", "headers": headers, "client": ("203.0.113.7", 9),
            "server": ("test", 80),
        }  # fmt: skip
        waiting = list(chunks)
        statuses: list[int] = []

        async def receive() -> Any:
            if waiting:
                body = waiting.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(waiting)}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.app(scope, receive, send)
        return statuses[0] if statuses else 499


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    made = Harness(tmp_path_factory.mktemp("fuzz") / "data")
    yield made
    made.close()


ODD_TEXT = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["", "\ud800", "٢٠٢٦-W47", "2026-W47\n", "\x00", "../../etc/passwd", "'; DROP TABLE x", "💥" * 70]),
)
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ODD_TEXT, st.sampled_from([10**400, -1, 2**63, 1e308])),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(ODD_TEXT, inner, max_size=6)),
    max_leaves=12,
)
FIELDS = st.sampled_from([*batch_json(Level.FULL)["report"], "hostname", "schema_version", "consent", "report"])


def mutated(body: bytes, dice: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.randrange(4)):
        place = dice.randrange(len(changed) + 1)
        match dice.randrange(4):
            case 0:
                del changed[place:]
            case 1:
                changed[place:place] = bytes(dice.randrange(256) for _ in range(dice.randrange(8)))
            case 2:
                changed[place : place + 1] = bytes([dice.randrange(256)])
            case _:
                changed[place:place] = changed[: dice.randrange(200)]
    return bytes(changed)


def packed(body: bytes, dice: random.Random) -> tuple[bytes, bytes | None]:
    """Return the body, perhaps compressed or damaged, and a content encoding, which may be wrong."""
    encoding = dice.choice([b"gzip", b"identity", None, None])
    content = body
    if encoding == b"gzip":
        content = gzip.compress(body, 1)
    if dice.random() < 0.3:
        content = mutated(content, dice)
    if dice.random() < 0.1:
        encoding = dice.choice([b"br", b"gzip", b"zstd", b"deflate", b"gzip, gzip", b"\xff"])
    if dice.random() < 0.02:
        content, encoding = zlib.compress(b" " * 2_000_000) if dice.random() < 0.5 else gzip.compress(b"[" * 2_000_000), b"gzip"
    return content, encoding


@settings(
    max_examples=max(1, CASES // VARIANTS),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    level=st.sampled_from(TELEMETRY_LEVELS),
    changes=st.dictionaries(FIELDS, ODD, max_size=3),
    seed=st.integers(0, 2**32),
    query=st.one_of(st.just(b"python=3.11"), st.binary(max_size=60)),
    odd_header=st.tuples(st.binary(max_size=20), st.binary(max_size=60)),
)
def test_no_request_body_causes_a_server_error(
    harness: Harness, level: Level, changes: dict[str, Any], seed: int, query: bytes, odd_header: tuple[bytes, bytes]
) -> None:
    dice = random.Random(seed)
    batch = batch_json(level, **{name: value for name, value in changes.items() if name not in ("consent", "report")})
    batch |= {name: value for name, value in changes.items() if name in ("schema_version", "consent", "report")}
    body = json.dumps(batch).encode("utf-8", "surrogatepass")
    for _ in range(VARIANTS):
        content, encoding = packed(mutated(body, dice) if dice.random() < 0.6 else body, dice)
        headers = [(b"content-type", dice.choice([b"application/json", b"application/json;x=y", b"text/plain", b"\xff"]))]
        headers += [(b"content-encoding", encoding)] if encoding else []
        headers += [(odd_header[0].lower() or b"x", odd_header[1])]
        if dice.random() < 0.3:
            headers += [(b"content-length", dice.choice([b"0", b"-1", b"99999999999", b"x", str(len(content)).encode()]))]
        cut = dice.randrange(len(content) + 1)
        path = dice.choice([f"/api/updates/{level}", "/api/updates/full", "/api/reports/find", "/api/reports/delete"])
        status = harness.status(path, query, headers, [content[:cut], content[cut:]])
        assert status < 500, (path, query, headers, content)
        assert status != 499 or not content
