"""The telemetry of one environment: what a person agreed to, and the report that goes with an update check."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

from napari_update_hook.index import listed_names
from napari_update_hook.state import State

from napari_telemetry.decision import ConsentRecord, Decision, agreed_level
from napari_telemetry.environment import Environment
from napari_telemetry.errors import StateError, UpdateHookError
from napari_telemetry.facts import facts_of
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore
from napari_telemetry.telemetry import Prepared, Telemetry, TelemetryOutcome
from napari_telemetry.transport import Transport
from napari_telemetry.wire import SCHEMA_VERSION, Level

DEADLINE_S = 4.5
"""For everything that sending a report does on the network: half of an update check."""


class TelemetryClient:
    """Telemetry of one environment, with its records in ``store``.

    ``deadline``: seconds that sending may take. Keeps the seam file of napari-update-hook in step with the consent: see
    `napari_update_hook.seam`.
    """

    def __init__(
        self,
        settings: ClientSettings,
        store: ClientStore,
        environment: Environment,
        deadline: float = DEADLINE_S,
        rng: random.Random | None = None,
    ) -> None:
        self._deadline = deadline
        self._settings = settings
        self._store = store
        self.environment = environment
        self.telemetry = Telemetry(settings, store, environment, rng)
        self.hook_state = State(settings.state, store.environment)

    def decision(self) -> Decision:
        """Return which level is in effect, and why it is not more."""
        return self.telemetry.decision()

    def set_consent(self, level: Level, *, lasting: timedelta | None = None, means: str) -> ConsentRecord:
        """Record an answer for the service of the settings, and return it. Nothing is sent.

        ``lasting``: None means until it is changed; ``means``: how it was given, for the history. Raises StateError.
        """
        now = self._settings.now()
        until = now + lasting if lasting is not None else None
        record = ConsentRecord(now, level, SCHEMA_VERSION, self._settings.service, until, means)
        self._store.consents.record(record)
        self._update_seam()
        return record

    def preview(self) -> Prepared | None:
        """Return what goes with the next check, byte for byte, or None where nothing does. Raises UpdateHookError."""
        if self.decision().level is Level.NONE:
            return None
        with Transport(self._deadline) as transport:
            return self.telemetry.preview(transport)

    def example(self, level: Level) -> bytes:
        """Return a report of this environment at ``level`` as JSON, before anyone agreed: see `Telemetry.example`."""
        listed = listed_names(self.hook_state.read_check().answers)
        return self.telemetry.example(level, facts_of(self.environment, level), listed)

    def takes_reports(self) -> bool | None:
        """Return whether the server is known to take reports; None before the first check.

        Today's plugin index takes none. A service that does has an update table.
        """
        urls = [url for url in self.hook_state.read_check().answers if url.startswith(f"{self._settings.server}/")]
        return any("/api/updates/" in url for url in urls) if urls else None

    def send(self, may_send: Callable[[], bool] = lambda: True, deadline: float | None = None) -> TelemetryOutcome:
        """Send the report that is due, if there is consent and it is time. Never raises.

        ``may_send``: asked just before a report would leave.
        """
        try:
            with Transport(self._deadline if deadline is None else deadline) as transport:
                outcome = self.telemetry.send(transport, may_send)
        except UpdateHookError as error:  # proxy settings that cannot be used
            outcome = TelemetryOutcome(self.decision().level, reason=f"Nothing was sent: {error}", is_restricted=True)
        self._update_seam()
        return outcome

    def _update_seam(self) -> None:
        """Have napari-update-hook load this package exactly while there is consent, whatever else switches it off."""
        try:
            record = self._store.consents.current()
        except StateError:
            return
        is_on = record is not None and agreed_level(record, self._settings, self._settings.now()) is not Level.NONE
        until = record.until.isoformat() if record is not None and record.until is not None else None
        self.hook_state.write_telemetry({"state": "on", "until": until} if is_on else None)
