"""What `napari_telemetry` offers to programs, with everything that this environment needs put together once."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from msgspec import Struct

from napari_telemetry.client import TelemetryClient
from napari_telemetry.environment import read_environment
from napari_telemetry.settings import ClientSettings, settings_from
from napari_telemetry.standing import ClientStatus, client_status
from napari_telemetry.state import ClientStore, environment_name


class Here(Struct, frozen=True):
    """The client of this environment, with what it is made of."""

    settings: ClientSettings
    store: ClientStore
    client: TelemetryClient


def store_here(settings: ClientSettings) -> ClientStore:
    """Return the state of the Python environment that runs."""
    return ClientStore(settings.state, environment_name(Path(sys.prefix)))


def client_here(server: str | None = None) -> Here:
    """Return the client of this environment. ``server``: instead of the one that the settings name. Raises SettingsError."""
    settings = settings_from(os.environ, server)
    store = store_here(settings)
    return Here(settings, store, TelemetryClient(settings, store, read_environment()))


def status(*, server: str | None = None) -> ClientStatus:
    """See `napari_telemetry.status`."""
    here = client_here(server)
    return client_status(here.settings, here.store, here.client.telemetry)


def send_if_due(deadline_s: float) -> None:
    """See `napari_telemetry.send_if_due`."""
    with contextlib.suppress(Exception):
        running = sys.modules.get("napari_telemetry.plugin.attachment")
        session = running.running_session() if running is not None else None
        if session is not None:  # what a person says in napari is known there before it is saved
            session.send(deadline_s)
        else:
            client_here().client.send(deadline=deadline_s)
