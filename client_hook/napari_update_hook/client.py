"""One update check, with the report that it carries where a consent record says so.

Without consent exactly one request leaves: the plain ``GET``. With it, the allow-list is fetched, the report built of what it
allows, and check and report travel as one ``POST``. Where that fails, the check falls back to the ``GET``: updates never depend
on telemetry.
"""

from __future__ import annotations

import contextlib
import random
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from napari_update_hook.decision import ConsentRecord, Decision
from napari_update_hook.environment import Environment
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, SettingsError, StateError, UpdateHookError
from napari_update_hook.facts import facts_of, is_final
from napari_update_hook.installers import Place
from napari_update_hook.pacing import Pause, after_failure, after_success, clamped_hours, holds, retry_after_seconds
from napari_update_hook.settings import ClientSettings
from napari_update_hook.state import CachedAnswer, ClientStore
from napari_update_hook.state.answers import CHECK
from napari_update_hook.switches import update_check_switched_off
from napari_update_hook.telemetry import Prepared, Telemetry, TelemetryOutcome
from napari_update_hook.transport import Transport, decoded
from napari_update_hook.updates import Sight, UpdateRow, update_rows
from napari_update_hook.wire import SCHEMA_VERSION, Level, PackageUpdate, Updates

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


class _Found(Struct, frozen=True):
    """An answer to compare with, and where it came from."""

    packages: dict[str, PackageUpdate]
    index_version: str | None
    fetched_at: datetime
    check_again_s: float = 86400
    fits_known: bool = True
    is_from_cache: bool = False
    notice: str | None = None


class _SummaryItem(Struct):
    """What today's index knows of a project."""

    name: str
    version: str = ""
    pypi_versions: list[str] = []
    conda_versions: list[str] = []


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
        self.telemetry = Telemetry(settings, store, environment, self._rng)
        napari = environment.distributions.get("napari")
        self._query = {"python": environment.python, "channel": environment.channel}
        if napari is not None and not napari.is_local and is_final(napari.version):
            self._query["napari"] = napari.version

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
        """Return a report of this environment at ``level`` as JSON, before anybody agreed: see `Telemetry.example`."""
        cached = self._cached(self._updates_key())
        listed: frozenset[str] = frozenset()
        if cached is not None:
            updates: Updates = decoded(cached.body, Updates, self._settings.server)
            listed = frozenset(updates.packages)
        return self.telemetry.example(level, facts_of(self.environment, level), listed)

    def check(self, *, only_if_due: bool = False) -> CheckResult:
        """Ask the server for updates, with the report where there is consent and it is time.

        ``only_if_due``: for checks that nobody asked for. They keep to what the server and earlier failures say, and answer
        from the cache until then. Raises ServerUnreachableError where there is neither a server nor an earlier answer,
        ServerAnswerError for a server that is no update server, SettingsError where the check is switched off.
        """
        if (switch := update_check_switched_off(self._settings.environ, self._settings.site)) is not None:
            raise SettingsError(f"The update check is off: {switch}.")
        if (waiting := self._waiting(only_if_due)) is not None:
            return waiting
        before = self._pause()
        try:
            with Transport(self._deadline / 2) as transport:
                cached = self._cached(self._updates_key())
                sent = self.telemetry.send(transport, self._query, cached.etag if cached else None)
                found: _Found | None = None
                if sent.outcome.receipt is not None:
                    found = self._from_telemetry(sent.updates, cached)
                if found is None:
                    # what telemetry did not use up, and half of the time in any case: a firewall that silently drops a level's
                    # host must not cost the check its time
                    transport.allow(self._deadline / 2)
                    found = self._ask(transport)
        except UpdateHookError as error:
            self._set_pause(self._after(error, before))
            raise
        if not found.is_from_cache:
            self._set_pause(after_success(self._settings.now(), clamped_hours(found.check_again_s), self._rng))
        return self._result(found, sent.outcome)

    def known(self) -> CheckResult | None:
        """Return what the last check found, compared with what is installed now, without any request; None before the first."""
        outcome = TelemetryOutcome(self.decision().level)
        for key, read in ((self._updates_key(), self._read_updates), (self._summary_key(), self._read_summary)):
            if (cached := self._cached(key)) is not None:
                found: _Found = read(cached.body, cached.fetched_at)
                return self._result(msgspec.structs.replace(found, is_from_cache=True), outcome)
        return None

    def _result(self, found: _Found, outcome: TelemetryOutcome) -> CheckResult:
        try:
            snoozes = self._store.snoozes.all()
        except StateError:
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
            is_from_cache=found.is_from_cache,
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
            return self._store.answers.claim(CHECK, now, _LEASE)
        except StateError:
            return True  # no state, no pauses: better one check too many than none for ever

    def _ask(self, transport: Transport) -> _Found:
        """The plain check: one GET that says Python, channel and napari's version."""
        cached = self._cached(self._updates_key())
        try:
            answer = transport.get(
                f"{self._settings.server}/api/updates", etag=cached.etag if cached else None, query=self._query
            )
        except ServerAnswerError as error:
            if error.status == 404:
                return self._ask_todays_index(transport)
            if error.status in (429, 500, 502, 503, 504) and cached:
                return self._from_cache(cached, error, self._read_updates)
            raise
        except ServerUnreachableError as error:
            if cached:
                return self._from_cache(cached, error, self._read_updates)
            if (summary := self._cached(self._summary_key())) is not None:
                return self._from_cache(summary, error, self._read_summary)
            raise
        if answer.body is None and cached is None:
            raise ServerAnswerError(f"{self._settings.server} says that nothing has changed, but nothing was known.", 304)
        body = cached.body if answer.body is None and cached else answer.body or b""
        return self._kept(self._updates_key(), body, self._read_updates)

    def _ask_todays_index(self, transport: Transport) -> _Found:
        """A server that has no update check is today's plugin index: it knows the newest versions, and not whom they fit."""
        try:
            answer = transport.get(self._summary_key())
        except ServerUnreachableError as error:
            if (cached := self._cached(self._summary_key())) is not None:
                return self._from_cache(cached, error, self._read_summary)
            raise
        return self._kept(self._summary_key(), answer.body or b"", self._read_summary)

    def _from_telemetry(self, updates: bytes | None, cached: CachedAnswer | None) -> _Found | None:
        """The answer that came with a receipt; None where it is no use, so that the check must still be asked for."""
        body = updates if updates is not None else (cached.body if cached else None)
        try:
            return self._kept(self._updates_key(), body, self._read_updates) if body is not None else None
        except ServerAnswerError:
            return None

    def _read_updates(self, body: bytes, fetched_at: datetime) -> _Found:
        updates: Updates = decoded(body, Updates, self._settings.server)
        return _Found(updates.packages, updates.index_version, fetched_at, updates.check_again_s)

    def _read_summary(self, body: bytes, fetched_at: datetime) -> _Found:
        items: list[_SummaryItem] = decoded(body, list[_SummaryItem], self._settings.server)
        from_conda = self.environment.channel == "conda-forge"
        newest = {
            str(canonicalize_name(item.name)): _newest(item.conda_versions) if from_conda else (item.version or None)
            for item in items
        }
        packages = {name: PackageUpdate(latest=version) for name, version in newest.items() if version}
        unknown = [
            f"which of them your Python {self.environment.python_minor} can install",
            "which releases were withdrawn or are vulnerable",
        ]
        if "napari" not in packages:
            unknown.append("whether there is a new napari")
        notice = f"{self._settings.server} knows the newest version of each plugin. It cannot know {', nor '.join(unknown)}."
        return _Found(packages, None, fetched_at, fits_known=False, notice=notice)

    def _from_cache(self, cached: CachedAnswer, error: UpdateHookError, read: Any) -> _Found:
        found: _Found = read(cached.body, cached.fetched_at)
        self._set_pause(self._after(error, self._pause()))
        notice = f"{error} This is the answer of {cached.fetched_at:%Y-%m-%d %H:%M} UTC."
        return msgspec.structs.replace(found, is_from_cache=True, notice=notice)

    def _kept(self, key: str, body: bytes, read: Any) -> _Found:
        """Read an answer, and keep it for the next check."""
        now = self._settings.now()
        found: _Found = read(body, now)
        try:
            self._store.answers.keep(key, CachedAnswer(now, body))
        except StateError as error:
            return msgspec.structs.replace(found, notice=" ".join(filter(None, (found.notice, str(error)))))
        return found

    def _updates_key(self) -> str:
        return f"{self._settings.server}/api/updates?" + "&".join(f"{name}={value}" for name, value in self._query.items())

    def _summary_key(self) -> str:
        return f"{self._settings.server}/api/extended_summary"

    def _cached(self, key: str) -> CachedAnswer | None:
        try:
            return self._store.answers.cached(key)
        except StateError:
            return None

    def _after(self, error: UpdateHookError, before: Pause | None) -> Pause:
        now = self._settings.now()
        header = error.retry_after if isinstance(error, ServerAnswerError) else None
        return after_failure(now, before, str(error), retry_after_seconds(header, now), self._rng, _FIRST_RETRY)

    def _pause(self) -> Pause | None:
        try:
            return self._store.answers.pause(CHECK)
        except StateError:
            return None

    def _set_pause(self, pause: Pause) -> None:
        with contextlib.suppress(StateError):  # `napari-updates status` says what is wrong with the file
            self._store.answers.set_pause(CHECK, pause)


def _newest(versions: list[str]) -> str | None:
    """The newest of some versions by PEP 440, final ones first; what can't be read counts for nothing."""
    parsed = []
    for text in versions:
        try:
            parsed.append(Version(text))
        except InvalidVersion:
            continue
    final = [version for version in parsed if not version.is_prerelease]
    return str(max(final or parsed)) if parsed else None
