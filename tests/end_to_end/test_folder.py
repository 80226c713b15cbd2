"""The index as a folder of files agrees with the service, on a web server or a file share."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from napari_telemetry.weeks import start_of
from napari_telemetry.wire import Level
from napari_update_hook.environment import Distribution
from napari_update_hook.errors import SettingsError
from napari_update_hook.updates import UpdateRow

from tests.support.client import HERE, Clock, Machine
from tests.support.processes import Server, invoke, running_server
from tests.support.sample_upstream import PLUGINS, FakeUpstream, SampleFile, SampleProject
from tests.support.waiting import wait_until
from update_server.index.files import TABLES

NOW = start_of("2026-W47") + timedelta(days=2)
PINNED = SampleProject(
    "pinned",
    {"1.0": [SampleFile()], "1.1": [SampleFile()]},
    requires_dist={"1.1": ["napari>=0.7"]},
    uploaded={"1.1": "2026-10-01"},
)
PROJECTS = [*PLUGINS, PINNED]
PLACES = ("service", "http.server", "file")


class QuietHandler(SimpleHTTPRequestHandler):
    """Python's file server, without request logs."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with FakeUpstream(PROJECTS).served() as url:
        yield url


def build(folder: Path, upstream: str, *options: str, now: str = NOW.isoformat()) -> tuple[int, str]:
    """Build the folder; return exit code and output."""
    environ = {"UPDATE_SERVER_NOW": now, "UPDATE_SERVER_LOG_LEVEL": "info", "UPDATE_SERVER_REFRESH_TIMEOUT_S": "60"}
    result = invoke("update_server", "index", "build", str(folder), "--upstream", upstream, *options, **environ)
    return result.exit_code, result.stdout + result.stderr


@pytest.fixture(scope="module")
def folder(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "index"
    code, told = build(path, upstream)
    assert code == 0, told
    return path


@pytest.fixture(scope="module")
def service(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("service") / "data"
    with running_server(data, UPDATE_SERVER_UPSTREAM=upstream, UPDATE_SERVER_NOW=NOW.isoformat()) as server:
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        yield server


@pytest.fixture(scope="module")
def addresses(folder: Path, service: Server) -> Iterator[dict[str, str]]:
    """Yield the base URLs of the same index, by the way it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "service": service.url,
        "http.server": f"http://127.0.0.1:{server.server_address[1]}",
        "file": folder.as_uri(),
    }
    server.shutdown()
    server.server_close()


def table_rows(machine: Machine) -> tuple[UpdateRow, ...]:
    return machine.updates.check(keep_napari=True).rows


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("python", ["3.9.2", "3.10.14", "3.12.1"])
@pytest.mark.parametrize("channel", ["pypi", "conda-forge"])
def test_check_gives_the_same_result_with_service_and_folder(
    addresses: dict[str, str], tmp_path: Path, place: str, python: str, channel: str
) -> None:
    versions = {"napari": "0.6.1", "affinder": "0.4.0", "some-plugin": "1.1.0", "pinned": "0.9", "micro-sam": "1.0"}
    installed = {
        name: Distribution(name, version, installer="conda" if channel != "pypi" else "pip", is_plugin=True)
        for name, version in versions.items()
    }
    environment = replace(HERE, python=python, channel=channel, distributions=installed)
    machine = Machine(tmp_path, addresses[place], environment=environment, clock=Clock(NOW))
    found = {row.name: row.latest for row in table_rows(machine)}
    if channel == "pypi":
        assert found == {
            "napari": {"3.9.2": "0.6.1", "3.10.14": "0.7.1", "3.12.1": "0.8.0"}[python],
            "affinder": "0.5.0",
            "some-plugin": "1.2.0",
            "pinned": "1.0",
            "micro-sam": "1.8.10" if python == "3.12.1" else "1.5.0",
        }
        notes = {row.name: row.note for row in table_rows(machine)}
        assert "1.1 needs napari >=0.7" in notes["pinned"]
        assert notes["some-plugin"].startswith("1.1.0 was withdrawn by its authors: broken wheel")
    else:
        assert found == {
            "affinder": "0.4.0" if python == "3.9.2" else "0.5.0",
            "micro-sam": "1.8.10" if python == "3.12.1" else None,
        }


def test_folder_includes_valid_notices_and_rejects_an_invalid_file(upstream: str, tmp_path: Path) -> None:
    path = tmp_path / "notices.yaml"
    path.write_text("- {name: pinned, specifier: '==1.0', text: It measures wrongly.}", "utf-8")
    code, told = build(tmp_path / "new", upstream, "--notices", str(path))
    assert code == 0, told
    table = json.loads((tmp_path / "new" / "api" / "updates" / "pypi.json").read_bytes())
    assert table["packages"]["pinned"]["notices"] == [
        {"text": "It measures wrongly.", "specifier": "==1.0", "severity": "warning"}
    ]
    path.write_text("- {name: nowhere, inactive: true}\n- {name: pinned, inactive: true}", "utf-8")
    code, told = build(tmp_path / "new", upstream, "--notices", str(path))
    assert (code, "nowhere: a notice names this package, but it is not in the index" in " ".join(told.split())) == (1, True)
    table = json.loads((tmp_path / "new" / "api" / "updates" / "pypi.json").read_bytes())
    assert table["packages"]["pinned"]["inactive"], "valid notices are still written"
    path.write_text("- [", "utf-8")
    code, told = build(tmp_path / "other", upstream, "--notices", str(path))
    assert (code, "notices.yaml is not a list of notices" in " ".join(told.split())) == (1, True)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("place", ["http.server", "file"])
def test_folder_announces_that_it_accepts_no_reports(addresses: dict[str, str], tmp_path: Path, place: str) -> None:
    machine = Machine(tmp_path, addresses[place], clock=Clock(NOW))
    assert [row.name for row in table_rows(machine)] == ["affinder", "napari-harpy"]
    assert machine.client.takes_reports() is False
    with pytest.raises(SettingsError, match="accepts no reports"):
        machine.consent(Level.FULL)


def test_service_announces_that_it_accepts_reports_and_a_folder_can_too(
    addresses: dict[str, str], upstream: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "state", addresses["service"], clock=Clock(NOW))
    table_rows(machine)
    assert machine.client.takes_reports() is True
    assert build(tmp_path / "site", upstream, "--takes-reports")[0] == 0
    beside = Machine(tmp_path / "other", (tmp_path / "site").as_uri(), clock=Clock(NOW))
    table_rows(beside)
    assert beside.client.takes_reports() is True


def test_every_file_of_the_folder_equals_the_response_of_the_service(folder: Path, service: Server) -> None:
    paths = [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != "index.snapshot"
    ]
    assert len(paths) > 60
    for path in paths:
        answer = service.get(f"/{path}")
        assert answer.status_code == 200, path
        assert without_timestamps(answer.content) == without_timestamps((folder / path).read_bytes()), path


def without_timestamps(content: bytes) -> bytes:
    """Remove timestamps of reading and ``takes_reports``."""
    return re.sub(rb"2026-11-1[0-9]T[0-9:]+Z", b"", content).replace(b'"takes_reports":true,', b"")


def test_endpoints_exist_with_and_without_file_extension(folder: Path) -> None:
    for path in ("plugins", "extended_summary", "readers", "conda-map", "pypi/affinder", "manifest/affinder", "conda/affinder"):
        assert (folder / "api" / path).read_bytes() == (folder / "api" / f"{path}.json").read_bytes()
    assert (folder / "api" / "conda.json").is_file()
    assert (folder / "api" / "conda").is_dir(), "a file and a folder can't have the same name"
    assert "affinder" in (folder / "index.html").read_text("utf-8")
    assert (folder / "feeds" / "pinned.atom").is_file()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_input_gives_the_same_bytes(folder: Path, upstream: str, tmp_path: Path) -> None:
    assert build(tmp_path / "again", upstream)[0] == 0
    assert digests(tmp_path / "again") == digests(folder)


def test_rebuild_with_previous_index_keeps_tables_unchanged(folder: Path, upstream: str, tmp_path: Path) -> None:
    later = (NOW + timedelta(hours=2)).isoformat()
    for previous in ("--previous", str(folder)), ():
        place = tmp_path / f"with-{len(previous)}"
        assert build(place, upstream, *previous, now=later)[0] == 0
        is_same = [
            (place / path.strip("/")).read_bytes() == (folder / path.strip("/")).read_bytes() for path in TABLES.values()
        ]
        assert is_same == [bool(previous)] * 2


@pytest.mark.slow
def test_failed_project_keeps_its_last_good_files_and_is_reported(
    folder: Path, addresses: dict[str, str], tmp_path: Path
) -> None:
    with FakeUpstream(PROJECTS, broken={"/simple/affinder/"}).served() as upstream:
        code, told = build(tmp_path / "new", upstream, "--previous", addresses["http.server"])
    assert code == 1
    assert "affinder: " in told
    assert "500" in told
    for path in ("api/updates/pypi.json", "api/manifest/affinder.json"):
        assert (tmp_path / "new" / path).read_bytes() == (folder / path).read_bytes()
    assert "500" in json.loads((tmp_path / "new" / "errors.json").read_bytes())["affinder"]["error"]
    assert "Out of date" in (tmp_path / "new" / "index.html").read_text("utf-8")


@pytest.mark.slow
def test_folder_is_unchanged_while_upstream_is_down(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "site")
    code, told = build(tmp_path / "site", "http://127.0.0.1:9")
    assert code == 1
    assert "last good entries" in told
    assert digests(tmp_path / "site") == digests(folder)
    code, told = build(tmp_path / "nowhere", "http://127.0.0.1:9")
    assert (code, (tmp_path / "nowhere").exists()) == (1, False)
    assert "Nothing was written" in told


def test_files_of_a_removed_project_are_deleted_and_other_files_kept(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(folder, site)
    (site / "CNAME").write_text("example.org")
    fewer = [
        *(project for project in PROJECTS if project is not PINNED),
        *(SampleProject(f"more-{n}", {"1": [SampleFile()]}) for n in range(20)),
    ]
    with FakeUpstream([*fewer, PINNED]).served() as upstream:
        assert build(site, upstream)[0] == 0
    with FakeUpstream(fewer).served() as upstream:
        assert build(site, upstream, now=(NOW + timedelta(days=1)).isoformat())[0] == 1, "in the grace period"
        assert (site / "feeds" / "pinned.atom").is_file()
        assert build(site, upstream, now=(NOW + timedelta(days=9)).isoformat())[0] == 0
    assert not (site / "feeds" / "pinned.atom").exists()
    assert not (site / "api" / "manifest" / "pinned").exists()
    assert (site / "CNAME").read_text() == "example.org"


def test_unreachable_previous_index_is_an_error(upstream: str, tmp_path: Path) -> None:
    (tmp_path / "index.snapshot").write_bytes(b"of another version")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "mine.txt").write_text("a file of somebody else")
    assert build(tmp_path, upstream)[0] == 0, "nothing can be reused, so everything is read again"
    assert (tmp_path / "api" / "mine.txt").is_file()
    code, told = build(tmp_path / "new", upstream, "--previous", "http://127.0.0.1:9")
    assert code == 1
    assert "can't be read" in told
