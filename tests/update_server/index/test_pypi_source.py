"""The standalone source, tested with a small fake PyPI."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from xmlrpc import client as xmlrpc

import httpx
import pytest

from tests.support.sample_upstream import RawTransport
from tests.update_server.index.test_wheels import MANIFEST, wheel
from update_server.index.snapshot import Index
from update_server.index.sources import fetching, pypi
from update_server.index.sources.fetching import Fetcher, UpstreamError
from update_server.settings import Upstreams

BASE = "http://pypi.example"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.Fetcher, "_wait", lambda *_: 0.0)


class SmallPyPI:
    """A fake PyPI with one wheel per project (None: only an sdist). ``requests``: requested paths."""

    def __init__(self, **wheels: bytes | None) -> None:
        self.wheels = {name.replace("_", "-"): content for name, content in wheels.items()}
        self.broken: set[str] = set()
        self.requests: list[str] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append(path)
        if path in self.broken:
            return httpx.Response(500)
        if path == "/pypi":
            names = [[name, "1.0"] for name in self.wheels]
            return httpx.Response(200, text=xmlrpc.dumps((names,), methodresponse=True))
        if path == "/v1/querybatch":
            return httpx.Response(200, json={"results": [{} for _ in json.loads(request.content)["queries"]]})
        for name, content in self.wheels.items():
            filename = f"{name.replace('-', '_')}-1.0" + ("-py3-none-any.whl" if content is not None else ".tar.gz")
            found: dict[str, Any] = {
                f"/simple/{name}/": {"files": [{"filename": filename, "requires-python": ">=3.9"}]},
                f"/pypi/{name}/json": {
                    "info": {"name": name, "version": "1.0", "summary": f"What {name} does"},
                    "releases": {"1.0": [{"filename": filename}]},
                    "urls": [
                        {
                            "filename": filename,
                            "url": f"{BASE}/files/{filename}",
                            "digests": {"sha256": hashlib.sha256(content or b"").hexdigest()},
                        }
                    ],
                },
            }
            if path in found:
                return httpx.Response(200, json=found[path])
            if path == f"/files/{filename}" and content is not None:
                return httpx.Response(200, content=content)
        return httpx.Response(404)

    async def read(self, previous: Index | None = None) -> Index:
        async with httpx.AsyncClient(transport=RawTransport(self.handle)) as client:
            fetcher = Fetcher(client, [BASE], 4)
            now = datetime(2026, 11, 20, tzinfo=UTC)
            return await pypi.read_index(fetcher, Upstreams(BASE), previous, now, lambda *_: None)


def listed(index: Index) -> list[str]:
    return [package.key for package in index.facts.packages]


def text(index: Index, path: str) -> Any:
    return json.loads(index.documents[path].text())


HIDDEN = wheel(manifest=MANIFEST.replace("made-plugin", "hidden-one") + "visibility: hidden\n")


async def test_plugins_are_found_without_another_index() -> None:
    index = await SmallPyPI(made_plugin=wheel(), no_plugin=wheel(entry=None), hidden_one=HIDDEN, only_source=None).read()
    assert listed(index) == ["made-plugin"]
    (package,) = index.facts.packages
    assert package.commands == ("made-plugin.read",)
    assert text(index, "/api/plugins") == {"made-plugin": "1.0"}
    assert text(index, "/api/readers") == {"*.made": ["made-plugin"]}
    (summary,) = text(index, "/api/extended_summary")
    assert (summary["display_name"], summary["summary"], summary["author"]) == (
        "Made Plugin",
        "What made-plugin does",
        "A. Uthor",
    )
    assert summary["pypi_versions"] == ["1.0"]
    assert text(index, "/api/manifest/made-plugin")["name"] == "made-plugin"
    assert "/api/manifest/hidden-one" in index.documents, "available by name, but not listed"
    errors = text(index, "/errors.json")
    assert set(errors) == {"no-plugin", "only-source"}
    assert "sdist would have to be built" in errors["only-source"]["error"]
    assert set(text(index, "/classifiers.json")["active"]) == {"made-plugin", "no-plugin", "hidden-one", "only-source"}


async def test_a_wheel_is_read_once_per_digest() -> None:
    upstream = SmallPyPI(made_plugin=wheel())
    first = await upstream.read()
    upstream.requests.clear()
    second = await upstream.read(first)
    assert not [path for path in upstream.requests if path.startswith("/files/")]
    assert second.facts.packages == first.facts.packages
    assert text(second, "/api/extended_summary") == text(first, "/api/extended_summary")
    upstream.wheels["made-plugin"] = wheel(manifest=MANIFEST.replace("made-plugin.read", "made-plugin.open"))
    assert (await upstream.read(second)).facts.packages[0].commands == ("made-plugin.open",)


async def test_a_failing_project_stays_in_every_list() -> None:
    other = wheel(manifest=MANIFEST.replace("made-plugin", "other-plugin"))
    upstream = SmallPyPI(made_plugin=wheel(), other_plugin=other)
    first = await upstream.read()
    upstream.broken = {"/simple/made-plugin/"}
    second = await upstream.read(first)
    assert "made-plugin" in second.stale
    assert listed(second) == ["made-plugin", "other-plugin"]
    for path in ("/api/extended_summary", "/api/readers", "/api/plugins"):
        assert text(second, path) == text(first, path), path


async def test_a_hostile_wheel_affects_only_its_own_project() -> None:
    bomb = wheel(manifest="name: x\n" + " " * 3_000_000)
    index = await SmallPyPI(made_plugin=wheel(), bomb=bomb, garbage=b"PK\x03\x04 no zip").read()
    assert listed(index) == ["made-plugin"]
    assert set(text(index, "/errors.json")) == {"bomb", "garbage"}


async def test_a_rejected_wheel_is_remembered_by_its_digest() -> None:
    upstream = SmallPyPI(made_plugin=wheel(), garbage=b"PK\x03\x04 no zip")
    first = await upstream.read()
    upstream.requests.clear()
    second = await upstream.read(first)
    assert not [path for path in upstream.requests if path.startswith("/files/")]
    assert text(second, "/errors.json") == text(first, "/errors.json")
    upstream.wheels["garbage"] = wheel(manifest=MANIFEST.replace("made-plugin", "garbage"))
    assert listed(await upstream.read(second)) == ["garbage", "made-plugin"]


@pytest.mark.parametrize(
    "answer", ["no xml", xmlrpc.dumps(([],), methodresponse=True), xmlrpc.dumps((7,), methodresponse=True)]
)
async def test_an_invalid_project_list_is_an_error(answer: str) -> None:
    transport = RawTransport(lambda _: httpx.Response(200, text=answer))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(UpstreamError, match=r"pypi\.example/pypi"):
            await pypi.read_index(
                Fetcher(client, [BASE], 1), Upstreams(BASE), None, datetime(2026, 11, 20, tzinfo=UTC), lambda *_: None
            )
