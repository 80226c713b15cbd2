from __future__ import annotations

import pytest
from napari_telemetry.settings import SiteRules
from napari_telemetry.switches import CI_VARIABLES, telemetry_switched_off

OPEN = SiteRules()


@pytest.mark.promise("off-by-variable")
@pytest.mark.parametrize(
    "environ",
    [
        {"NAPARI_TELEMETRY": "0"},
        {"NAPARI_TELEMETRY": "off"},
        {"NAPARI_TELEMETRY": "False"},
        {"DO_NOT_TRACK": "1"},
        {"DO_NOT_TRACK": "true"},
        *({name: "true"} for name in CI_VARIABLES),
    ],
)
def test_each_variable_switches_telemetry_off_and_is_named(environ: dict[str, str]) -> None:
    reason = telemetry_switched_off(environ, OPEN)
    assert reason is not None
    assert next(iter(environ)) in reason


@pytest.mark.parametrize(
    "environ",
    [{}, {"NAPARI_TELEMETRY": "1"}, {"NAPARI_TELEMETRY": ""}, {"DO_NOT_TRACK": "0"}, {"DO_NOT_TRACK": ""}, {"CI": "false"}],
)
def test_nothing_else_does(environ: dict[str, str]) -> None:
    assert telemetry_switched_off(environ, OPEN) is None
