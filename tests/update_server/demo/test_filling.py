"""Sample data uses the real intake and is never written to a folder with real numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import open_raw_store
from tests.support.facts import write_snapshot
from update_server.demo.filling import COMPLETE_NOTICE, NotADemoError, fill
from update_server.settings import DEMO_MARKER, Settings

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)


async def filled(folder: Path, weeks: int = 12) -> list[tuple[int, int]]:
    """Fill the folder with sample data and return the reported progress."""
    told: list[tuple[int, int]] = []
    await fill(Settings(data=folder), NOW, weeks=weeks, people=60, progress=lambda done, of: told.append((done, of)))
    return told


async def test_sample_weeks_are_published_and_old_reports_deleted(tmp_path: Path) -> None:
    write_snapshot(tmp_path)
    assert (await filled(tmp_path))[-1] == (12, 12)
    settings = Settings(data=tmp_path)
    assert settings.is_demo
    assert COMPLETE_NOTICE in (tmp_path / DEMO_MARKER).read_text("utf-8")
    aggregate = AggregateStore(make_engine(f"sqlite+aiosqlite:///{tmp_path / 'aggregate.sqlite3'}"))
    raw = open_raw_store(f"sqlite+aiosqlite:///{tmp_path / 'raw'}")
    weeks = await aggregate.published_weeks()
    assert (len(weeks), weeks[-1]) == (12, "2026-W44")
    assert len(await raw.weeks()) < 12
    await aggregate.engine.dispose()
    await raw.close()


async def test_a_folder_with_possibly_real_numbers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "aggregate.sqlite3").write_bytes(b"real")
    with pytest.raises(NotADemoError, match="may be real"):
        await filled(tmp_path)
    assert (tmp_path / "aggregate.sqlite3").read_bytes() == b"real"
