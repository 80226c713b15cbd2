"""First and second start, an unreachable upstream, and a port in use."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import Server, end, reserved_port, run, running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

NOWHERE = "http://127.0.0.1:9"


def origin(server: Server) -> str | None:
    told: str | None = server.get("/health/ready").json()["index"]["origin"]
    return told


def test_first_start_offline_serves_the_seed_and_recovers(tmp_path: Path) -> None:
    """Recover without a restart when upstream becomes reachable."""
    upstream = FakeUpstream()
    port = reserved_port()
    with running_server(
        tmp_path / "data", UPDATE_SERVER_UPSTREAM=f"http://127.0.0.1:{port}", UPDATE_SERVER_REFRESH_RETRY_S="2"
    ) as server:
        table = server.get("/api/updates/pypi.json")
        assert len(table.json()["packages"]) > 600, "the seed is served immediately"
        assert server.get("/api/updates?python=3.10").status_code == 200
        assert origin(server) == "seed"

        def has_failed() -> bool:
            return server.get("/health/ready").json()["index"]["last_refresh_error"] is not None

        wait_until(has_failed, server.log.read_text, seconds=90)
        ready = server.get("/health/ready").json()
        assert ready["status"] == "degraded"
        assert any("The last refresh failed" in reason for reason in ready["reasons"])
        assert any("2026-08-22" in reason for reason in ready["reasons"])
        assert server.get("/api/extended_summary").status_code == 503
        with upstream.served(port):
            wait_until(lambda: origin(server) == "refresh", server.log.read_text, seconds=120)
            assert len(server.get("/api/updates?python=3.10").json()["packages"]) == 6
            assert server.get("/api/extended_summary").status_code == 200
            assert server.get("/health/ready").json()["status"] == "ok"


def test_second_start_serves_the_snapshot_while_upstream_is_down(tmp_path: Path) -> None:
    with FakeUpstream().served() as upstream, running_server(tmp_path / "data", UPDATE_SERVER_UPSTREAM=upstream) as server:
        wait_until(lambda: origin(server) == "refresh", server.log.read_text)
        before = server.get("/api/updates?python=3.12").content
        assert end(server.process) == 0
    with running_server(tmp_path / "data", UPDATE_SERVER_UPSTREAM=NOWHERE) as server:
        assert origin(server) == "snapshot"
        assert server.get("/api/updates?python=3.12").content == before
        assert server.get("/api/extended_summary").status_code == 200
        assert server.get("/api/updates?python=3.12&channel=conda-forge").status_code == 200


def test_port_in_use_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    with running_server(tmp_path / "one", UPDATE_SERVER_UPSTREAM=NOWHERE) as server:
        port = server.url.rsplit(":", 1)[1]
        second = run(
            "update_server",
            "run",
            UPDATE_SERVER_DATA=str(tmp_path / "two"),
            UPDATE_SERVER_PORT=port,
            UPDATE_SERVER_UPSTREAM=NOWHERE,
        )
        assert second.returncode == 1
        assert port in second.stderr
        assert "Traceback" not in second.stderr
