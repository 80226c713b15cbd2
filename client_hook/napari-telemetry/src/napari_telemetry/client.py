"""One update check, with the report that it carries where a consent record says so.

Without consent exactly one request leaves: a ``GET`` of the update table, which is the same for everybody. With it, the
allow-list is fetched, the report is built of what it allows and sent, and then the table is fetched as well: updates never
depend on telemetry.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from napari_telemetry.decision import ConsentRecord, Decision
from napari_telemetry.environment import Environment
from napari_telemetry.errors import (
    ServerAnswerError,
    ServerUnreachableError,
    SettingsError,
    StateBusyError,
    StateError,
    UpdateHookError,
)
from napari_telemetry.facts import facts_of
from napari_telemetry.installers import Place
from napari_telemetry.lookup import IndexAnswer, IndexClient
from napari_telemetry.pacing import Pause, after_failure, after_success, clamped_hours, holds, retry_after_seconds
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore
from napari_telemetry.state.answers import check_pause
from napari_telemetry.switches import update_check_switched_off
from napari_telemetry.telemetry import Prepared, Telemetry, TelemetryOutcome
from napari_telemetry.transport import Transport
from napari_telemetry.updates import Sight, UpdateRow, update_rows
from napari_telemetry.wire import SCHEMA_VERSION, Level

DEADLINE_S = 9.0
"""For everything that a check does on the network: half of it for telemetry, what is left for the check itself."""
_FIRST_RETRY = timedelta(minutes=15)
_LEASE = timedelta(minutes=2)


class CheckResult(Struct, frozen=True):
    """What a check found.

    ``python``: full version; ``channel``: pypi or conda-forge; ``index_version``: None where the server can't tell;
    ``fetched_at``: of the answer that was used; ``rows``: one for each installed package of the index, napari first, and
    ``packages`` in JSON; ``notice``: what people should know about the answer, such as its age.
    """

    server: str
    python: str
    channel: str
    index_version: str | None
    fetched_at: datetime
    rows: list[UpdateRow] = msgspec.field(name="packages")
    telemetry: TelemetryOutcome
    is_from_cache: bool = False
    notice: str | None = None


class UpdateClient:
    """Checks for updates from one environment, with the state in ``store``.

    ``place``: how the environment was made, so that the right command is named. ``deadline``: seconds that a check may take
    in all.
    """

    def __init__(
        self,
        settings: ClientSettings,
        store: ClientStore,
        environment: Environment,
        place: Place,
        deadline: float = DEADLINE_S,
        rng: random.Random | None = None,
    ) -> None:
        self._deadline = deadline
        self._settings = settings
        self._store = store
        self.environment = environment
        self._place = place
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._pause_name = check_pause(settings.service)
        self.telemetry = Telemetry(settings, store, environment, self._rng)
        self._index = IndexClient(settings, store, environment)
        self._strict_cache = IndexClient(settings, store, environment, must_read=True)

    def decision(self) -> Decision:
        """Return which level is in force, and why it is not more."""
        return self.telemetry.decision()

    def set_consent(self, level: Level, *, lasting: timedelta | None = None, means: str) -> ConsentRecord:
        """Record an answer for the service of the settings, and return it. Nothing is sent.

        ``lasting``: None means until it is changed; ``means``: how it was given, for the history. Raises StateError.
        """
        now = self._settings.now()
        until = now + lasting if lasting is not None else None
        record = ConsentRecord(now, level, SCHEMA_VERSION, self._settings.service, until, means)
        self._store.consents.record(record)
        return record

    def preview(self) -> Prepared | None:
        """Return what the next check sends, byte for byte, or None where nothing is. Raises UpdateHookError."""
        if self.decision().level is Level.NONE:
            return None
        with Transport(self._deadline) as transport:
            return self.telemetry.preview(transport)

    def example(self, level: Level) -> bytes:
        """Return a report of this environment at ``level`` as JSON, before anybody agreed: see `Telemetry.example`.

        Raises StateBusyError.
        """
        found = self._strict_cache.cached()
        listed = frozenset(found.packages) if found else frozenset()
        return self.telemetry.example(level, facts_of(self.environment, level), listed)

    def check(self, *, only_if_due: bool = False, may_send: Callable[[], bool] = lambda: True) -> CheckResult:
        """Ask the server for updates, with the report where there is consent and it is time.

        ``only_if_due``: for checks that nobody asked for. They keep to what the server and earlier failures say, and answer
        from the cache until then. ``may_send``: asked just before a report would leave. Raises ServerUnreachableError where
        there is neither a server nor an earlier answer, ServerAnswerError for a server that is no update server, SettingsError
        where the check is switched off.
        """
        if (switch := update_check_switched_off(self._settings.environ, self._settings.site)) is not None:
            raise SettingsError(f"The update check is off: {switch}.")
        if (waiting := self._waiting(only_if_due)) is not None:
            return waiting
        before = self._pause()
        try:
            with Transport(self._deadline / 2) as transport:
                outcome = self.telemetry.send(transport, may_send)
                # What telemetry did not use up, and half of the time in any case: a firewall that silently drops a level's host
                # must not cost the check its time.
                transport.allow(self._deadline / 2)
                found = self._index.ask(transport)
        except UpdateHookError as error:
            self._set_pause(self._after(error, before))
            raise
        if found.failure is not None:
            self._set_pause(self._after(found.failure, before))
        else:
            self._set_pause(after_success(self._settings.now(), clamped_hours(found.check_again_s), self._rng))
        return self._result(found, outcome, is_from_cache=found.failure is not None)

    def known(self) -> CheckResult | None:
        """Return what the last check found, compared with what is installed now, without any request; None before the first.

        Raises StateBusyError: then something is known, perhaps, and something snoozed.
        """
        found = self._strict_cache.cached()
        if found is None:
            return None
        outcome = TelemetryOutcome(self.decision().level)
        return self._result(found, outcome, is_from_cache=True, must_read=True)

    def _result(
        self, found: IndexAnswer, outcome: TelemetryOutcome, *, is_from_cache: bool, must_read: bool = False
    ) -> CheckResult:
        try:
            snoozes = self._store.snoozes.all()
        except StateError as error:
            if must_read and isinstance(error, StateBusyError):
                raise
            snoozes = []
        sight = Sight(self.environment, self._place, self._settings.now(), snoozes, found.fits_known)
        return CheckResult(
            server=self._settings.server,
            python=self.environment.python,
            channel=self.environment.channel,
            index_version=found.index_version,
            fetched_at=found.fetched_at,
            rows=update_rows(found.packages, sight),
            telemetry=outcome,
            is_from_cache=is_from_cache,
            notice=found.notice,
        )

    def _waiting(self, only_if_due: bool) -> CheckResult | None:
        """What is known, where it is not time to ask; None where it is.

        A check that a person asked for waits only where the server itself said so. One that nobody asked for waits for every
        pause, and claims the next for itself: of several processes that start together, one asks.
        """
        now, pause = self._settings.now(), self._pause()
        is_directed = pause is not None and pause.is_directed and holds(pause, now)
        if not only_if_due and not is_directed:
            return None
        if only_if_due and not holds(pause, now) and self._claimed(now):
            return None
        known = self.known()
        notice = None
        if pause is not None and is_directed:
            notice = f"{self._settings.server} asked not to be asked again before {pause.not_before:%Y-%m-%d %H:%M} UTC."
        if known is None:
            raise ServerUnreachableError(notice or "It is not time to ask for updates, and nothing is known from before.")
        if notice is None:
            return known
        return msgspec.structs.replace(known, notice=f"{notice} This is the answer of {known.fetched_at:%Y-%m-%d %H:%M} UTC.")

    def _claimed(self, now: datetime) -> bool:
        try:
            return self._store.answers.claim(self._pause_name, now, _LEASE)
        except StateError:
            return True  # no state, no pauses: better one check too many than none for ever

    def _after(self, error: UpdateHookError, before: Pause | None) -> Pause:
        now = self._settings.now()
        header = error.retry_after if isinstance(error, ServerAnswerError) else None
        return after_failure(now, before, str(error), retry_after_seconds(header, now), self._rng, _FIRST_RETRY)

    def _pause(self) -> Pause | None:
        try:
            return self._store.answers.pause(self._pause_name)
        except StateError:
            return None

    def _set_pause(self, pause: Pause) -> None:
        with contextlib.suppress(StateError):  # `napari-updates status` says what is wrong with the file
            self._store.answers.set_pause(self._pause_name, pause)
