"""From SQLite to PostgreSQL: every row arrives, numbers go on, and nothing that is there is touched."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from napari_telemetry.weeks import published_from

from aggregation.catalogue import CATALOGUE
from aggregation.publish import publish_week
from aggregation.settings import Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AggregateBase, Certificate, SigningKey
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import open_raw_store
from aggregation.stores.records import Records
from migrations import upgrade
from migrations.copying import CopyError, copy_stores
from tests.support.processes import invoke
from tests.support.reports import WEEK, random_reports
from tests.support.stores import sqlite_urls

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A data folder with something in every table."""
    for store in Store:
        await upgrade(store, sqlite_urls(tmp_path)[store])
    raw = open_raw_store(sqlite_urls(tmp_path)[Store.RAW])
    aggregate = AggregateStore(make_engine(sqlite_urls(tmp_path)[Store.AGGREGATE]))
    await raw.put([*random_reports(1, 60), *random_reports(2, 30, week="2026-W41")])
    await publish_week(raw, aggregate, WEEK, published_from(WEEK))
    records = Records(aggregate.engine)
    assert await records.retract(CATALOGUE[0], {}, WEEK, WEEK, "a test", NOW)
    await records.note_inspection(WEEK, 5, "a test", NOW)
    certificates = CertificateStore(aggregate.engine)
    await certificates.add_key(SigningKey(kid="k", public={"kty": "OKP"}, created_at=NOW))
    await certificates.add(
        Certificate(id="1", plugin="affinder", first_week=WEEK, last_week=WEEK, issued_at=NOW, kid="k", token="t")
    )
    await aggregate.share("index", NOW, b"an index")
    await aggregate.job_ended(await aggregate.job_started("refresh", NOW), NOW, None)
    await raw.close()
    await aggregate.engine.dispose()
    return tmp_path


async def rows_of(url: str, table: sa.Table) -> list[dict[str, Any]]:
    engine = make_engine(url)
    async with engine.connect() as connection:
        found = (await connection.execute(sa.select(table).order_by(*table.primary_key.columns))).mappings().all()
    await engine.dispose()
    return [{name: _in_utc(value) for name, value in row.items()} for row in found]


def _in_utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@pytest.mark.postgresql
async def test_every_row_arrives_as_it_was_and_numbers_go_on(filled: Path, postgresql_url: str) -> None:
    for store in Store:
        await upgrade(store, postgresql_url)
    source = sqlite_urls(filled)
    await copy_stores(source, dict.fromkeys(Store, postgresql_url), lambda *_: None)
    for table in AggregateBase.metadata.sorted_tables:
        copied = await rows_of(postgresql_url, table)
        assert copied, table.name
        assert copied == await rows_of(source[Store.AGGREGATE], table), table.name
    before, after = open_raw_store(source[Store.RAW]), open_raw_store(postgresql_url)
    for week in await before.weeks():
        assert [row async for rows in after.rows(week) for row in rows] == [
            row async for rows in before.rows(week) for row in rows
        ]
    assert await after.weeks() == ["2026-W40", "2026-W41"]
    with pytest.raises(CopyError, match="must be empty"):
        await copy_stores(source, dict.fromkeys(Store, postgresql_url), lambda *_: None)
    await before.close()
    await after.close()
    aggregate = AggregateStore(make_engine(postgresql_url))
    assert await aggregate.job_started("refresh", NOW) == 2
    await aggregate.engine.dispose()


@pytest.mark.postgresql
def test_the_command_copies_both_stores_and_says_what_is_left_to_do(filled: Path, postgresql_url: str) -> None:
    urls = dict.fromkeys(("AGGREGATION_RAW_URL", "AGGREGATION_AGGREGATE_URL"), postgresql_url)
    told = invoke("update_server", "db", "copy", str(filled), **urls)
    assert told.exit_code == 0, told.stderr
    assert "reports" in told.stdout
    assert "keys" in told.stdout
    again = invoke("update_server", "db", "copy", str(filled), **urls)
    assert (again.exit_code, "must be empty" in again.stderr) == (1, True)
    nowhere = invoke("update_server", "db", "copy", str(filled / "nowhere"), **urls)
    assert (nowhere.exit_code, "no SQLite stores" in nowhere.stderr) == (2, True)
