from __future__ import annotations

from pathlib import Path

import pytest
from napari_telemetry.wire import Level
from pydantic import ValidationError
from typer.testing import CliRunner

from aggregation.settings import AggregationSettings, Store
from aggregation.stores.raw import open_raw_store
from migrations import upgrade
from tests.support.reports import WEEK, report
from update_server.__main__ import app
from update_server.operations.settings_page import described, page
from update_server.settings import Settings

runner = CliRunner()
ROOT = Path(__file__).parents[2]


def test_settings_come_from_environment_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "UPDATE_SERVER_HOST": "0.0.0.0",
        "UPDATE_SERVER_PORT": "9000",
        "UPDATE_SERVER_DATA": str(tmp_path),
        "UPDATE_SERVER_UPSTREAM": "http://127.0.0.1:8900/",
        "UPDATE_SERVER_LEVELS": "basic, middle",
        "UPDATE_SERVER_LEVEL_HOSTS": '{"basic": "basic.example.org"}',
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.host, settings.port, settings.data) == ("0.0.0.0", 9000, tmp_path)
    assert settings.upstreams.index == settings.upstreams.pypi == "http://127.0.0.1:8900"
    assert settings.levels == (Level.BASIC, Level.MIDDLE)
    assert settings.level_hosts == {Level.BASIC: "basic.example.org"}
    assert settings.aggregation.data == tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("UPSTREAM", "not a url"),
        ("REFRESH_INTERVAL_S", "1"),
        ("CHECK_AGAIN_S", "60"),
        ("LEVELS", "none"),
        ("LEVELS", "everything"),
        ("NOW", "soon"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_an_invalid_setting_is_named_at_startup(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"UPDATE_SERVER_{name}", value)
    with pytest.raises(ValidationError):
        Settings()
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 2
    assert f"UPDATE_SERVER_{name}" in result.output
    assert "Traceback" not in result.output


def test_the_clock_can_be_set_only_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_SERVER_NOW", "2026-11-24T12:00:00Z")
    assert Settings().now is not None
    assert Settings(host="::1").now is not None
    with pytest.raises(ValidationError, match="UPDATE_SERVER_NOW"):
        Settings(host="0.0.0.0")


def test_every_setting_is_described_and_the_docs_are_current() -> None:
    items = list(described())
    assert all(item.meaning for item in items)
    assert {"UPDATE_SERVER_HOST", "AGGREGATION_RAW_URL", "AGGREGATION_AGGREGATE_OWNER_URL"} <= {item.name for item in items}
    written = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert written == page(), "run make docs"
    assert "UPDATE_SERVER_PORT" in runner.invoke(app, ["settings", "--json"]).output


@pytest.mark.parametrize("name", ["a%41b", "q?y=1", "ü b#c", "a&b"])
async def test_the_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    settings = AggregationSettings(data=tmp_path / name)
    for store in Store:
        url = settings.url(store)
        assert url is not None
        await upgrade(store, url)
    raw = open_raw_store(settings.url(Store.RAW) or "")
    await raw.put([report(1)])
    await raw.close()
    made = {path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*") if path.is_file()}
    assert made == {"aggregate.sqlite3", f"raw/{WEEK}.sqlite3"}
