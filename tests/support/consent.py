"""Record consent in tests. The package has no function for it, because only a person can consent."""

from __future__ import annotations

from datetime import timedelta

from napari_telemetry.client import current_client
from napari_telemetry.consent_rules import ConsentRecord
from napari_telemetry.wire import Level


def record(level: str, *, lasting: timedelta | None = None, server: str | None = None) -> ConsentRecord:
    return current_client(server).set_consent(Level(level), lasting=lasting, means="a test")
