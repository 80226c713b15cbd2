"""A backup contains no raw report, and a service restored from it answers the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from napari_telemetry.weeks import publishable_from

from aggregation.certificates.issue import prepare
from aggregation.certificates.keys import new_key
from aggregation.publish import publish_week
from aggregation.stores.certificates import CertificateStore
from migrations.backing_up import back_up
from tests.support.processes import invoke
from tests.support.reports import WEEK, report
from tests.update_server.conftest import MakeClient, make_client, services_of

__all__ = ["make_client"]  # re-exported fixture
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
PATHS = (
    "/api/stats/napari?by=python",
    "/api/stats/plugins/affinder",
    "/api/retractions",
    "/api/plugins",
    "/.well-known/jwks.json",
)


async def test_a_restored_service_answers_the_same_without_raw_reports(make_client: MakeClient, tmp_path: Path) -> None:
    data, saved, restored = tmp_path / "data", tmp_path / "saved", tmp_path / "restored"
    async with make_client() as client:
        services = services_of(client)
        assert services.raw is not None
        await services.raw.put([report(person) for person in range(40)])
        await publish_week(services.raw, services.aggregate, WEEK, publishable_from(WEEK))
        await CertificateStore(services.aggregate.engine).add_key(new_key(data / "keys", NOW))
        files = back_up(data, saved)  # while the service runs
        before = {path: (await client.get(path)).json() for path in PATHS}
    assert {path.name for path in files} >= {"aggregate.sqlite3", "index.snapshot"}
    identifiers = [report(person).identifier.encode() for person in range(40)]
    assert not [path for path in files if any(one in path.read_bytes() for one in identifiers)]
    assert not [path for path in saved.rglob("*") if "raw" in path.name]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files), "accessible only to the service's user"
    saved.rename(restored)
    async with make_client(data=restored, snapshot=False) as client:
        assert {path: (await client.get(path)).json() for path in PATHS} == before
        aggregate = services_of(client).aggregate
        certificate, _ = await prepare(
            aggregate, site="https://x.org", key_folder=restored / "keys", plugin="affinder", first=WEEK, last=WEEK, now=NOW
        )
        assert certificate.token


def test_the_backup_command_lists_files_and_does_not_overwrite(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert invoke("update_server", "db", "migrate", UPDATE_SERVER_DATA=str(data)).exit_code == 0
    told = invoke("update_server", "db", "backup", str(tmp_path / "saved"), UPDATE_SERVER_DATA=str(data))
    assert told.exit_code == 0, told.stderr
    assert "aggregate.sqlite3" in told.stdout
    again = invoke("update_server", "db", "backup", str(tmp_path / "saved"), UPDATE_SERVER_DATA=str(data))
    assert (again.exit_code, "already exists" in again.stderr) == (1, True)
