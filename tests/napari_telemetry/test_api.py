"""What `napari_telemetry` offers to programs."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import napari_telemetry
import pytest
import respx
from napari_telemetry.wire import Level

from tests.support.client import SERVER, reports_of


@pytest.fixture(autouse=True)
def _this_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", SERVER)


def test_status_and_consent_are_what_they_say(server: respx.MockRouter) -> None:
    assert napari_telemetry.status().level is Level.NONE
    napari_telemetry.send_if_due(5)
    assert not server.calls, "no one agreed"
    answer = napari_telemetry.consent.record("basic", lasting="90d")
    assert answer.until is not None
    assert answer.until - answer.at == timedelta(days=90)
    assert napari_telemetry.consent.decision().level is Level.BASIC
    napari_telemetry.send_if_due(60)
    assert len(reports_of(server)) == 1
    assert napari_telemetry.consent.current() == answer
    napari_telemetry.consent.record(Level.FULL, lasting=timedelta(hours=1))
    assert napari_telemetry.consent.withdraw().level is Level.NONE
    levels = [record.level for record in napari_telemetry.consent.history()]
    assert levels == [Level.BASIC, Level.FULL, Level.NONE]
    with pytest.raises(ValueError, match="everything"):
        napari_telemetry.consent.record("everything")


def test_the_collectors_load_neither_network_nor_gui() -> None:
    heavy = "httpx npe2 qtpy typer rich numpy"
    code = f"import sys, napari_telemetry.collect; print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
