from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
from napari_telemetry.settings import SiteRules, TelemetrySettings, origin_of, read_site_rules, settings_from
from napari_telemetry.wire import Level
from napari_update_hook.errors import SettingsError
from napari_update_hook.settings import UNATTENDED_VARIABLES


@pytest.mark.parametrize(
    ("option", "environ", "server"),
    [
        (None, {}, "https://api.napari.org"),
        (None, {"NAPARI_UPDATE_SERVER": "https://a.example/"}, "https://a.example"),
        ("https://b.example", {"NAPARI_UPDATE_SERVER": "https://a.example"}, "https://b.example"),
    ],
)
def test_the_option_overrides_the_variable(option: str | None, environ: dict[str, str], server: str) -> None:
    settings = settings_from(environ, option, SiteRules())
    assert settings.server == server
    assert set(settings.level_servers.values()) == {server}


def test_a_level_can_have_its_own_host() -> None:
    settings = settings_from({"NAPARI_UPDATE_SERVER_FULL": "https://full.example"}, "https://a.example", SiteRules())
    assert settings.level_servers[Level.FULL] == "https://full.example"
    assert settings.level_servers[Level.BASIC] == "https://a.example"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.napari.org/base", "https://api.napari.org"),
        ("https://a.example:443", "https://a.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_consent_is_given_to_an_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_a_simulated_clock_needs_a_local_server() -> None:
    moved = settings_from({"NAPARI_UPDATE_NOW": "2026-11-24T12:00:00Z"}, "http://127.0.0.1:8000", SiteRules())
    assert (moved.now() - datetime(2026, 11, 24, 12, tzinfo=timezone.utc)).total_seconds() < 60
    with pytest.raises(SettingsError, match="NAPARI_UPDATE_NOW"):
        settings_from({"NAPARI_UPDATE_NOW": "2026-11-24T12:00:00Z"}, "https://a.example", SiteRules())
    environ = {"NAPARI_UPDATE_NOW": "2026-11-24T12:00:00Z", "NAPARI_UPDATE_SERVER_FULL": "https://full.example"}
    with pytest.raises(SettingsError, match="NAPARI_UPDATE_NOW"):
        settings_from(environ, "http://127.0.0.1:8000", SiteRules())
    with pytest.raises(SettingsError, match="not a date and time"):
        settings_from({"NAPARI_UPDATE_NOW": "soon"}, "http://127.0.0.1:8000", SiteRules())


def test_the_strictest_site_file_wins(tmp_path: Path) -> None:
    lenient, strict = tmp_path / "lenient.json", tmp_path / "strict.json"
    lenient.write_text(json.dumps({"telemetry": True, "maximum_level": "full", "server": "https://site.example"}))
    strict.write_text(json.dumps({"telemetry": False, "maximum_level": "basic"}))
    for files in ([lenient, strict], [strict, lenient]):
        rules = read_site_rules(files)
        assert (rules.telemetry, rules.maximum_level) == (False, Level.BASIC)
        assert rules.server == "https://site.example"


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"server": 5}',
        '{"level_servers": {"full": "https://full.example"}}',
        '{"server": "https://a.example", "level_servers": ["https://full.example"]}',
        '{"server": "https://a.example", "level_servers": {"full": 5}}',
        '{"server": "https://a.example", "level_servers": {"all": "https://full.example"}}',
        '{"server": "https://a.example", "level_servers": {"none": "https://none.a.example"}}',
        '{"server": "https://a.example", "level_servers": {"full": "https://full.example"}}',
        '{"server": "https://a.example", "level_servers": {"full": "https://fulla.example"}}',
        '{"server": "https://a.example", "level_servers": {"full": "https://a.example.evil.example"}}',
        '{"server": "https://a.example", "level_servers": {"full": "full.a.example"}}',
        '{"server": "https://a.example", "level_servers": {"full": "http://full.a.example"}}',
        '{"server": "a.example", "level_servers": {"full": "https://full.a.example"}}',
        "[]",
        '{"maximum_level": "everything"}',
        '{"telemetry": "off"}',
        '{"telemetry": 0}',
        '{"telemetry": null}',
    ],
)
def test_an_invalid_site_file_switches_telemetry_off(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(text)
    rules = read_site_rules([path])
    assert rules.telemetry is False
    assert settings_from({}, site=rules).opt_out() is not None


def test_level_hosts_apply_only_to_the_server_of_the_site_file(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    levels = {"middle": "https://middle.site.example/", "full": "https://full.site.example"}
    path.write_text(json.dumps({"server": "https://site.example/", "level_servers": levels}))
    site = read_site_rules([path])
    assert settings_from({}, site=site).level_servers == {
        Level.BASIC: "https://site.example",
        Level.MIDDLE: "https://middle.site.example",
        Level.FULL: "https://full.site.example",
    }
    assert (
        settings_from({"NAPARI_UPDATE_SERVER_FULL": "https://own.example"}, site=site).level_servers[Level.FULL]
        == "https://own.example"
    )
    others = [
        settings_from({}, "https://other.example", site),
        settings_from({"NAPARI_UPDATE_SERVER": "https://other.example"}, site=site),
    ]
    for settings in others:
        assert set(settings.level_servers.values()) == {"https://other.example"}, "consent names the recipients of reports"


def test_level_hosts_belong_to_the_server_named_with_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps({"server": "https://a.example", "level_servers": {"full": "https://full.a.example"}}))
    second.write_text(json.dumps({"server": "https://b.example"}))
    settings = settings_from({}, site=read_site_rules([first, second]))
    assert settings.level_servers[Level.FULL] == settings.server == "https://b.example"
    second.write_text(json.dumps({"maximum_level": "full"}))
    settings = settings_from({}, site=read_site_rules([first, second]))
    assert settings.level_servers[Level.FULL] == "https://full.a.example"


@pytest.mark.parametrize("spelled", ["https://a.example/", "https://A.example", "https://a.example:443"])
def test_level_hosts_apply_to_every_spelling_of_their_server(tmp_path: Path, spelled: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps({"server": "https://a.example", "level_servers": {"full": "https://full.a.example"}}))
    settings = settings_from({"NAPARI_UPDATE_SERVER": spelled}, site=read_site_rules([path]))
    assert settings.level_servers[Level.FULL] == "https://full.a.example", "blocking that host must block the level"
    again = tmp_path / "again.json"
    again.write_text(json.dumps({"server": "https://a.example/"}))
    settings = settings_from({}, site=read_site_rules([path, again]))
    assert settings.level_servers[Level.FULL] == "https://full.a.example"


def test_a_site_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    path.write_text('{"maximum_level": "basic"}', encoding="utf-8-sig")
    assert read_site_rules([path]).maximum_level is Level.BASIC


@pytest.mark.promise("off-by-variable")
@pytest.mark.parametrize(
    "environ",
    [
        {"NAPARI_TELEMETRY": "0"},
        {"NAPARI_TELEMETRY": "off"},
        {"NAPARI_TELEMETRY": "False"},
        {"DO_NOT_TRACK": "1"},
        {"DO_NOT_TRACK": "true"},
        *({name: "true"} for name in UNATTENDED_VARIABLES),
    ],
)
def test_each_variable_switches_telemetry_off_and_is_named(environ: dict[str, str]) -> None:
    assert next(iter(environ)) in str(opt_out(environ))


@pytest.mark.parametrize(
    "environ",
    [{}, {"NAPARI_TELEMETRY": "1"}, {"NAPARI_TELEMETRY": ""}, {"DO_NOT_TRACK": "0"}, {"DO_NOT_TRACK": ""}, {"CI": "false"}],
)
def test_other_values_do_not_switch_telemetry_off(environ: dict[str, str]) -> None:
    assert opt_out(environ) is None


def opt_out(environ: dict[str, str]) -> str | None:
    settings: TelemetrySettings = settings_from(environ, site=SiteRules())
    return settings.opt_out()
