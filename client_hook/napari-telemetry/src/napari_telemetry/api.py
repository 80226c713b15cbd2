"""What `napari_telemetry` offers to programs, with everything that this environment needs put together once."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from napari_telemetry.client import CheckResult, UpdateClient
from napari_telemetry.environment import read_environment
from napari_telemetry.errors import SettingsError, StateBusyError
from napari_telemetry.here import place_here, store_here
from napari_telemetry.settings import ClientSettings, settings_from
from napari_telemetry.standing import ClientStatus, client_status
from napari_telemetry.state import ClientStore


class Here(Struct, frozen=True):
    """The client of this environment, with what it is made of."""

    settings: ClientSettings
    store: ClientStore
    client: UpdateClient


def client_here(server: str | None = None, channel: str | None = None) -> Here:
    """Return the client of this environment. ``server``: instead of the one that the settings name. Raises SettingsError."""
    settings = settings_from(os.environ, server)
    environment = read_environment()
    if channel is not None:
        if channel not in ("pypi", "conda-forge"):
            raise SettingsError(f"{channel!r} is no channel: choose pypi or conda-forge")
        environment = msgspec.structs.replace(environment, channel=channel)
    store = store_here(settings)
    return Here(settings, store, UpdateClient(settings, store, environment, place_here()))


def check(*, server: str | None = None, only_if_due: bool = False) -> CheckResult:
    """See `napari_telemetry.check`."""
    return client_here(server).client.check(only_if_due=only_if_due)


def status(*, server: str | None = None) -> ClientStatus:
    """See `napari_telemetry.status`."""
    here = client_here(server)
    try:
        known = here.client.known()
    except StateBusyError:  # the status says so, too
        known = None
    return client_status(here.settings, here.store, here.client.telemetry, known.fetched_at if known else None)
