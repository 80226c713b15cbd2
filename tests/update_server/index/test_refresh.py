"""Refreshes from a fake upstream in memory, including its failures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from aggregation.clock import Clock
from tests.support.facts import facts_of
from tests.support.sample_upstream import PLUGINS, FakeUpstream, RawTransport, SampleFile, SampleProject
from update_server.index import refresh as refreshing
from update_server.index.model import Package, Release
from update_server.index.snapshot import Origin
from update_server.index.sources import fetching
from update_server.index.store import IndexStore
from update_server.settings import Settings

UPSTREAM = "http://upstream.example"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.Fetcher, "_wait", lambda *_: 0.0)


def without_requirements(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Return packages without requirements, which come from metadata."""
    return tuple(
        msgspec.structs.replace(
            package,
            releases=tuple(Release(release.version, release.files, uploaded=release.uploaded) for release in package.releases),
        )
        for package in packages
    )


class Refresher:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(data=folder, upstream=UPSTREAM, refresh_timeout_s=20)
        self.store = IndexStore(self.settings.snapshot_path, None, 86400)
        self._monkeypatch = monkeypatch
        self.progress: list[tuple[int, int]] = []

    async def __call__(self, upstream: FakeUpstream, day: int = 20) -> str | None:
        clock = Clock(datetime(2026, 11, day, tzinfo=UTC))
        self._monkeypatch.setattr(refreshing, "new_client", lambda _: httpx.AsyncClient(transport=upstream.transport()))
        outcome = await refreshing.refresh(
            self.settings, self.store, clock, lambda done, total: self.progress.append((done, total))
        )
        return outcome.error

    def version(self, key: str) -> str | None:
        assert self.store.loaded is not None
        package = self.store.loaded.packages.get(key)
        return package.version if package else None


@pytest.fixture
def refresher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refresher:
    return Refresher(tmp_path, monkeypatch)


async def test_a_refresh_reads_and_saves_the_whole_index(refresher: Refresher) -> None:
    assert await refresher(FakeUpstream()) is None
    served = refresher.store.loaded
    assert served is not None
    assert served.index.origin is Origin.REFRESH
    assert without_requirements(served.index.facts.packages) == facts_of().packages
    assert served.packages["affinder"].commands == ("affinder.start_affinder",)
    assert refresher.progress[0] == (0, 6)
    assert refresher.progress[-1] == (6, 6)
    again = IndexStore(refresher.settings.snapshot_path, None, 86400)
    again.load()
    assert again.loaded is not None
    assert again.loaded.index.facts == served.index.facts
    assert again.loaded.index.documents == served.index.documents


async def test_a_second_refresh_transfers_only_changes(refresher: Refresher) -> None:
    upstream = FakeUpstream()
    await refresher(upstream)
    first = refresher.store.loaded
    statuses: list[int] = []
    real = upstream.transport

    def counting() -> RawTransport:
        inner = real()

        def handle(request: httpx.Request) -> httpx.Response:
            response = inner.handler(request)
            assert isinstance(response, httpx.Response)
            if request.method == "GET":
                statuses.append(response.status_code)
            return response

        return RawTransport(handle)

    upstream.transport = counting  # type: ignore[method-assign]
    assert await refresher(upstream) is None
    assert set(statuses) == {304, 404}, "404: napari's parts, which this upstream does not have"
    assert first is not None
    assert refresher.store.loaded is not None
    assert refresher.store.loaded.index.documents == first.index.documents
    assert refresher.store.loaded.index.facts.packages == first.index.facts.packages


async def test_the_last_index_stays_while_the_upstream_is_down(refresher: Refresher) -> None:
    await refresher(FakeUpstream())
    before = refresher.store.loaded
    error = await refresher(FakeUpstream(is_down=True), day=21)
    assert "upstream.example" in str(error)
    assert refresher.store.loaded is before
    assert refresher.store.last_refresh is not None
    assert refresher.store.last_refresh.ended_at.day == 21
    assert await refresher(FakeUpstream(), day=22) is None


async def test_a_failing_project_keeps_its_last_entry_and_its_age(refresher: Refresher) -> None:
    await refresher(FakeUpstream(), day=20)
    for day in (21, 22):
        assert await refresher(FakeUpstream(broken={"/simple/affinder/"}), day=day) is None
    served = refresher.store.loaded
    assert served is not None
    assert without_requirements(served.packages.values()) == facts_of().packages
    stale = served.index.stale["affinder"]
    assert stale.since is not None
    assert stale.since.day == 20
    assert "500" in stale.error
    assert await refresher(FakeUpstream(), day=23) is None
    assert refresher.store.loaded is not None
    assert not refresher.store.loaded.index.stale


async def test_a_failing_new_project_is_reported_and_left_out(refresher: Refresher) -> None:
    assert await refresher(FakeUpstream(broken={"/simple/napari-harpy/"})) is None
    served = refresher.store.loaded
    assert served is not None
    assert "napari-harpy" not in served.packages
    assert served.index.stale["napari-harpy"].since is None


async def test_a_truncated_response_is_retried() -> None:
    answers = iter(
        [
            httpx.Response(503, headers={"retry-after": "0"}),
            httpx.Response(200, content=b'{"a": '),
            httpx.Response(200, json={}),
        ]
    )
    async with httpx.AsyncClient(transport=RawTransport(lambda _: next(answers))) as client:
        answer = await fetching.Fetcher(client, ["http://x.example"], 1).get("http://x.example/")
    assert answer is not None
    assert answer.text == b"{}"


PINNED = SampleProject(
    "pinned",
    {"1.0": [SampleFile()], "1.1": [SampleFile()], "1.2": [SampleFile()], "1.3": [SampleFile()]},
    requires_dist={
        "1.3": ["napari<0.7", "numpy"],
        "1.2": ["napari (==0.6.1) ; extra == 'all'", "napari!=0.8.0"],
        "1.1": ["napari"],
    },
)


async def test_metadata_is_read_once_and_only_for_candidate_releases(refresher: Refresher) -> None:
    upstream = FakeUpstream([*PLUGINS, PINNED])
    await refresher(upstream)
    served = refresher.store.loaded
    assert served is not None
    needs = {release.version: release.requires for release in served.packages["pinned"].releases}
    assert needs == {"1.3": ("napari<0.7",), "1.2": ("napari!=0.8.0",), "1.1": (), "1.0": None}, "1.1 allows every napari"
    assert {release.requires for release in served.packages["napari"].releases} == {()}, "every release of napari is read"
    asked = [path for path in upstream.requests if path.startswith("/pypi/pinned/")]
    assert sorted(asked) == ["/pypi/pinned/1.1/json", "/pypi/pinned/1.2/json", "/pypi/pinned/1.3/json"]
    upstream.requests.clear()
    await refresher(upstream)
    assert not [path for path in upstream.requests if path.startswith("/pypi/")]


async def test_unreadable_metadata_excludes_nothing_and_is_retried(refresher: Refresher) -> None:
    await refresher(FakeUpstream([*PLUGINS, PINNED], broken={"/pypi/pinned/1.3/json"}))
    served = refresher.store.loaded
    assert served is not None
    assert served.packages["pinned"].releases[0].requires is None
    assert not served.index.stale
    await refresher(FakeUpstream([*PLUGINS, PINNED]))
    assert refresher.store.loaded is not None
    assert refresher.store.loaded.packages["pinned"].releases[0].requires == ("napari<0.7",)


async def test_vulnerabilities_are_kept_while_osv_is_unavailable(refresher: Refresher) -> None:
    weak = SampleProject("weak", {"1.0": [SampleFile()], "1.1": [SampleFile()]}, advisories={"PYSEC-2026-1": ["1.0"]})
    await refresher(FakeUpstream([*PLUGINS, weak]), day=20)
    for upstream in (FakeUpstream([*PLUGINS, weak]), FakeUpstream([*PLUGINS, weak], broken={"/v1/querybatch"})):
        assert await refresher(upstream, day=21) is None
        served = refresher.store.loaded
        assert served is not None
        assert served.packages["weak"].vulnerabilities == {"1.0": ("PYSEC-2026-1",)}
    assert refresher.store.loaded is not None
    assert list(refresher.store.loaded.index.stale) == ["advisories of OSV"]


MANY = [*PLUGINS, *(SampleProject(f"plugin-{number}", {"1.0": [SampleFile()]}) for number in range(40))]


async def test_a_vanished_project_is_marked_and_kept_for_a_grace_period(refresher: Refresher) -> None:
    await refresher(FakeUpstream(MANY), day=1)
    for day in (2, 7):
        assert await refresher(FakeUpstream(MANY[:-1]), day=day) is None
        served = refresher.store.loaded
        assert served is not None
        assert "plugin-39" in served.packages
        assert "/api/manifest/plugin-39" in served.index.documents
        assert served.index.stale["plugin-39"].has_vanished
        assert "2026-11-08" in served.index.stale["plugin-39"].error
    assert await refresher(FakeUpstream(MANY[:-1]), day=9) is None
    assert refresher.version("plugin-39") is None
    await refresher(FakeUpstream(MANY), day=10)
    assert refresher.version("plugin-39") == "1.0"
    assert refresher.store.loaded is not None
    assert not refresher.store.loaded.index.stale


async def test_a_refresh_fails_if_too_many_projects_vanish_at_once(refresher: Refresher) -> None:
    await refresher(FakeUpstream(MANY), day=1)
    assert await refresher(FakeUpstream(MANY[:-2]), day=2) is None
    assert "of 46 projects" in str(await refresher(FakeUpstream(MANY[:-6]), day=3))


async def test_a_project_without_files_keeps_its_last_releases(refresher: Refresher) -> None:
    await refresher(FakeUpstream(MANY), day=1)
    await refresher(FakeUpstream([*MANY[:-1], SampleProject("plugin-39", {}, "1.0")]), day=2)
    served = refresher.store.loaded
    assert served is not None
    assert [release.version for release in served.packages["plugin-39"].releases] == ["1.0"]
    assert "no installable file" in served.index.stale["plugin-39"].error


async def test_readers_never_see_a_partial_index(refresher: Refresher) -> None:
    """The update table, facts and packages always match."""
    import asyncio

    await refresher(FakeUpstream(MANY))
    seen: set[int] = set()
    ended = False

    async def read() -> None:
        while not ended:
            served = refresher.store.loaded
            assert served is not None
            named = msgspec.json.decode(served.files["/api/updates/pypi.json"].identity)["packages"]
            assert named.keys() == {package.key for package in served.index.facts.packages} == served.packages.keys()
            seen.add(len(named))
            await asyncio.sleep(0.005)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for count in (47, 46, 47, 46):
        extra = [SampleProject("newcomer", {"1.0": [SampleFile()]})] if count == 47 else []
        await refresher(FakeUpstream([*MANY, *extra]), day=20 if count == 47 else 29)
    ended = True
    await asyncio.gather(*readers)
    assert {46, 47} <= seen


@pytest.mark.parametrize(
    "offered", [b"<html>log in first</html>", b"Metadata-Version: 2.1\nName: x\nRequires-Dist: napari<0.1\n"]
)
async def test_metadata_with_a_wrong_hash_is_not_used(offered: bytes) -> None:
    """The JSON API is used instead."""
    from update_server.index.sources.metadata import _Reader
    from update_server.settings import Upstreams

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(".metadata"):
            return httpx.Response(200, content=offered)
        return httpx.Response(200, json={"info": {"requires_dist": ["napari>=0.6"]}})

    async with httpx.AsyncClient(transport=RawTransport(handle)) as client:
        urls = {"made": {"1.0": f"{UPSTREAM}/files/made.whl.metadata#{'0' * 64}"}}
        reader = _Reader(fetching.Fetcher(client, [UPSTREAM], 1), Upstreams(UPSTREAM), urls, range(8, 20))
        found = await reader.requirements("made", "1.0")
        assert found is not None
        assert found.requires == ("napari>=0.6",)


async def test_an_invalid_response_leaves_requirements_unknown() -> None:
    from update_server.index.sources.metadata import _Reader
    from update_server.settings import Upstreams

    transport = RawTransport(lambda _: httpx.Response(200, json={"info": 7}))
    async with httpx.AsyncClient(transport=transport) as client:
        reader = _Reader(fetching.Fetcher(client, [UPSTREAM], 1), Upstreams(UPSTREAM), {}, range(8, 20))
        assert await reader.requirements("made", "1.0") is None


async def test_unlisted_parts_of_napari_are_in_the_table(refresher: Refresher) -> None:
    upstream = FakeUpstream(PLUGINS, parts=[SampleProject("npe2", {"0.8.0": [SampleFile()]})])
    await refresher(upstream)
    loaded = refresher.store.loaded
    assert loaded is not None
    table = msgspec.json.decode(loaded.files["/api/updates/pypi.json"].identity)["packages"]
    assert table["npe2"] == {"releases": [{"version": "0.8.0"}]}
    assert "npe2" not in loaded.packages
    assert "npe2" not in msgspec.json.decode(loaded.files["/api/plugins"].identity)
    await refresher(FakeUpstream(PLUGINS, broken={"/simple/npe2/"}))
    assert refresher.store.loaded is not None
    assert [part.key for part in refresher.store.loaded.index.facts.parts] == ["npe2"], "the last good entry stays"


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-encoding": "gzip"}, gzip.compress(b" " * (65 * 2**20))),
        ({"content-encoding": "br"}, b"x"),
        ({}, b" " * (65 * 2**20)),
    ],
    ids=["unpacks to more", "another encoding", "too long"],
)
async def test_the_size_and_encoding_of_responses_are_limited(headers: dict[str, str], content: bytes) -> None:
    transport = RawTransport(lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(content)))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(fetching.UpstreamError, match=r"longer than|unexpected content encoding"):
            await fetching.Fetcher(client, [UPSTREAM], 1).get(f"{UPSTREAM}/api/plugins")


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/secret", "http://upstream.example:81/", "ftp://upstream.example/", "https://elsewhere.example/"],
)
async def test_only_the_configured_services_are_contacted(target: str) -> None:
    """Redirects and links to other hosts are not followed."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": target})

    async with httpx.AsyncClient(transport=RawTransport(handle)) as client:
        fetcher = fetching.Fetcher(client, [UPSTREAM], 1)
        for url in (f"{UPSTREAM}/x", target):
            with pytest.raises(fetching.UpstreamError):
                await fetcher.get(url)
    assert asked == [f"{UPSTREAM}/x"]


async def test_a_redirect_to_a_configured_service_is_followed() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/simple/A.B/":
            return httpx.Response(301, headers={"location": "/simple/a-b/"})
        return httpx.Response(200, json={})

    async with httpx.AsyncClient(transport=RawTransport(handle)) as client:
        answer = await fetching.Fetcher(client, [UPSTREAM], 1).get(f"{UPSTREAM}/simple/A.B/")
    assert answer is not None
    assert answer.text == b"{}"


async def test_a_sudden_flood_of_projects_is_rejected(refresher: Refresher) -> None:
    await refresher(FakeUpstream(MANY))
    flood = {f"project-{number}": "1.0" for number in range(200)}
    upstream = FakeUpstream(MANY)
    upstream.overrides["/api/plugins"] = json.dumps(flood).encode()
    upstream.requests.clear()
    assert "200 projects; more than" in str(await refresher(upstream))
    assert not [path for path in upstream.requests if path.startswith("/simple/")], "none of them was read"
    assert refresher.store.loaded is not None
    assert len(refresher.store.loaded.packages) == len(MANY)


async def test_invalid_project_names_are_left_out_and_reported(refresher: Refresher) -> None:
    upstream = FakeUpstream()
    bad = {"<script>alert(1)</script>": "1.0", "../../etc/passwd": "1.0", "affinder": "0.5.0", "a\u202eb": "1"}
    upstream.overrides["/api/plugins"] = json.dumps(bad).encode()
    assert await refresher(upstream) is None
    loaded = refresher.store.loaded
    assert loaded is not None
    assert list(loaded.packages) == ["affinder"]
    assert b"script" not in b"".join(body.identity for body in loaded.files.values())
    assert (
        "3 invalid project names were omitted"
        in msgspec.json.decode(loaded.files["/errors.json"].identity)["list of projects"]["error"]
    )


async def test_an_invalid_advisory_does_not_affect_the_others(refresher: Refresher) -> None:
    weak = SampleProject(
        "weak", {"1.0": [SampleFile()]}, advisories={"PYSEC-1": ["1.0"], "../../../etc": ["1.0"], "PYSEC-2": ["1.0"]}
    )
    upstream = FakeUpstream([*PLUGINS, weak])
    upstream.overrides["/v1/vulns/PYSEC-2"] = b'{"id": "PYSEC-2", "affected": [{"ranges": [{"events": 5}]}]}'
    assert await refresher(upstream) is None
    loaded = refresher.store.loaded
    assert loaded is not None
    assert loaded.packages["weak"].vulnerabilities == {"1.0": ("PYSEC-1",)}
    assert not loaded.index.stale


async def test_unusable_metadata_is_reported_and_read_only_once(refresher: Refresher) -> None:
    lines = [f"napari>=0.4.{number}; python_version < '3.0'" for number in range(5_000)]
    large = SampleProject("large", {"1.0": [SampleFile()]}, requires_dist={"1.0": lines})
    broken = SampleProject(
        "broken", {"1.0": [SampleFile()], "1.1": [SampleFile()]}, requires_dist={"1.1": ["numpy (>=1.19.*)"]}
    )
    upstream = FakeUpstream([*PLUGINS, large, broken])
    for _ in range(2):
        upstream.requests.clear()
        assert await refresher(upstream) is None
        loaded = refresher.store.loaded
        assert loaded is not None
        errors = msgspec.json.decode(loaded.files["/errors.json"].identity)
        assert "more than 500 requirements" in errors["large"]["error"]
        assert "'numpy (>=1.19.*)' is not a requirement" in errors["broken"]["error"]
        table = msgspec.json.decode(loaded.files["/api/updates/pypi.json"].identity)["packages"]
        assert table["large"]["releases"] == [{"version": "1.0"}]
        assert table["broken"]["releases"] == [{"version": "1.0"}], "1.1 is left out, because pip ignores it"
    assert not [path for path in upstream.requests if path.startswith("/pypi/large/")]


async def test_a_single_package_cannot_bloat_the_table(refresher: Refresher) -> None:
    naparis = SampleProject("napari", {f"0.{minor}.{patch}": [SampleFile()] for minor in range(10) for patch in range(10)})
    releases = {f"{major}.0": [SampleFile(yanked="y" * 5_000), SampleFile(tag=None)] for major in range(90)}
    withdrawn = {f"0.{minor}": [SampleFile(yanked="w" * 5_000)] for minor in range(400)}
    needs = [f"npe2>=0.0.{'0' * 900}1", *(f"plugin-{number}>=0.{'0' * 900}" for number in range(20))]
    requires = {version: [f"napari!=0.{int(version[:-2]) // 10}.{int(version[:-2]) % 10}", *needs] for version in releases}
    greedy = SampleProject("greedy", {**withdrawn, **releases}, requires_dist=requires)
    for _ in range(8):  # requirements are read in rounds
        assert await refresher(FakeUpstream([naparis, greedy, *MANY[6:]])) is None
    loaded = refresher.store.loaded
    assert loaded is not None
    table = msgspec.json.decode(loaded.files["/api/updates/pypi.json"].identity)["packages"]
    entry = table["greedy"]
    assert entry["releases"][0] == {"version": "89.0", "requires_napari": "!=0.8.9"}
    assert len(json.dumps(entry["releases"])) < 20_000
    assert len(entry["yanked"]) == 100
    assert max(map(len, entry["yanked"].values())) == 200
    assert "too large" in msgspec.json.decode(loaded.files["/errors.json"].identity)["greedy"]["error"]
