"""The update check: download a file that is the same for everyone, and compare it locally."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from napari_update_hook import seam, transport
from napari_update_hook.environment import Environment, read_environment
from napari_update_hook.errors import (
    ServerAnswerError,
    ServerUnreachableError,
    SettingsError,
    StateError,
    UpdateHookError,
)
from napari_update_hook.index import Index, cached_index, fetch_index
from napari_update_hook.installers import InstallCommands, InstallEnvironment, detect_install, how_to_install
from napari_update_hook.plan import Plan, Verdict, make_plan, napari_impact, newest_napari
from napari_update_hook.settings import Settings, current_settings
from napari_update_hook.state import NOTIFY_INTERVAL, CheckState, Pause, State, environment_id
from napari_update_hook.updates import Status, UpdateRow, compare, plan_without_snoozed, snooze_text

DEADLINE_S = 9.0
DAY = timedelta(days=1)
MAX_PAUSE = timedelta(days=7)
FIRST_RETRY = timedelta(minutes=15)
JITTER = 0.1

Planner = Callable[[Mapping[str, str]], "tuple[Plan, InstallCommands]"]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    ``index_version``: None if the server does not give one. ``rows``: installed packages in the index, napari first.
    ``unlisted``: installed plugins that are not in the index. ``how``: commands that install the plan. ``next_napari``: the
    newest napari release for this Python, with its effect on each plugin.
    """

    server: str
    python: str
    napari: str | None
    channel: str
    index_version: str | None
    fetched_at: datetime
    rows: tuple[UpdateRow, ...]
    plan: Plan
    how: InstallCommands
    unlisted: tuple[str, ...] = ()
    is_from_cache: bool = False
    notice: str | None = None
    next_napari: tuple[str, tuple[Verdict, ...]] | None = None


class UpdateClient:
    """Checks one environment for updates. ``deadline``: seconds for all requests of a check together."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        environment: Environment,
        install: InstallEnvironment,
        deadline: float = DEADLINE_S,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.state = state
        self.environment = environment
        self.install = install
        self._deadline = deadline
        self._rng = rng or random.Random()  # noqa: S311 - only spreads load

    def check(self, *, only_if_due: bool = False, keep_napari: bool = False) -> CheckResult:
        """Ask the server for updates.

        ``only_if_due``: for automatic checks, which respect the interval and the back-off. ``keep_napari``: plan for the
        installed napari. Raises ServerUnreachableError if there is neither a response nor a cached one, ServerAnswerError
        if the server has no index, SettingsError if the check is off.
        """
        return self.compare(self.index(only_if_due=only_if_due), keep_napari=keep_napari)

    def known(self, *, keep_napari: bool = False) -> CheckResult | None:
        """Return a result from the cache, without any request, or None if nothing is cached."""
        index = self.known_index()
        return self.compare(index, keep_napari=keep_napari) if index is not None else None

    def known_index(self) -> Index | None:
        return cached_index(self.state.read_check().answers, self.settings, self.environment)

    def compare(self, index: Index, *, keep_napari: bool = False) -> CheckResult:
        environment, now = self.environment, self.settings.now()
        found = compare(
            index.packages,
            environment,
            now=now,
            snoozes=self.state.snoozes(),
            has_requirements=index.has_requirements,
            keep_napari=keep_napari,
        )
        napari = environment.distributions.get("napari")
        newer = newest_napari(index.packages, environment)
        return CheckResult(
            server=self.settings.server,
            python=environment.python,
            napari=napari.version if napari is not None else None,
            channel=environment.channel,
            index_version=index.index_version,
            fetched_at=index.fetched_at,
            rows=found.rows,
            plan=found.plan,
            how=self.install_commands(found.plan, index),
            unlisted=found.unlisted,
            is_from_cache=not index.answers,
            notice=" ".join(filter(None, (index.notice, self._environment_notice()))) or None,
            next_napari=(newer, napari_impact(index.packages, environment, newer)) if newer is not None else None,
        )

    def planner(
        self, index: Index, *, napari: str | None = None, keep_napari: bool = False, only: Sequence[str] = ()
    ) -> Planner:
        """Return the ``make`` function for `dry_run.verify`, which also leaves out snoozed updates.

        The options are those of `plan.make_plan`. Packages in ``only`` are planned even if snoozed.
        """
        options: dict[str, Any] = {"napari": napari, "keep_napari": keep_napari, "only": only}
        snoozes = self.state.snoozes() if not only else []
        _, found = plan_without_snoozed(index.packages, self.environment, self.settings.now(), snoozes, **options)
        snoozed = {name: snooze_text(one) for name, one in found.items()}

        def make(without: Mapping[str, str]) -> tuple[Plan, InstallCommands]:
            plan = make_plan(index.packages, self.environment, without={**snoozed, **without}, **options)
            return plan, self.install_commands(plan, index)

        return make

    def install_commands(self, plan: Plan, index: Index) -> InstallCommands:
        if (development := self.environment.development_napari) is not None and plan.updates:
            return InstallCommands(
                reason=f"There is no command for napari {development}: pip treats a development version as older than its "
                f"release, so it would find no plugins for {self.environment.napari}, or replace your napari."
            )
        keys = {one.name: name for name, one in self.environment.distributions.items()}
        conda_names = {name: package.conda_name for name, package in index.packages.items() if package.conda_name}
        updates = [keys[one.name] for one in plan.updates]
        return how_to_install(self.install, self.environment.distributions, plan.pins, updates, conda_names)

    def index(self, *, only_if_due: bool = False) -> Index:
        """Return the index, fetched or cached; write at most one file. Raises the same errors as `check`."""
        if (reason := self.settings.disabled_by) is not None:
            raise SettingsError(f"The update check is off: {reason}.")
        state, now = self.state.read_check(), self.settings.now()
        removed = seam.reset_if_uninstalled(self.state, now)
        known = cached_index(state.answers, self.settings, self.environment)
        if (pause := state.pause) is not None and is_active(pause, now) and (only_if_due or pause.is_directed):
            notice = None
            if pause.is_directed:
                notice = f"{self.settings.server} asks clients to wait until {pause.not_before:%Y-%m-%d %H:%M} UTC."
            if known is None:
                raise ServerUnreachableError(notice or "The next check is not due yet, and there is no earlier result.")
            return _with_cache_notice(known, " ".join(filter(None, (notice, removed))) or None)
        ends = time.monotonic() + self._deadline / 2
        try:
            index = fetch_index(partial(transport.get, ends=ends), self.settings, self.environment)
        except UpdateHookError as error:
            self._save_check(replace(state, pause=self._next_pause(error, pause)))
            if known is None:
                raise
            return _with_cache_notice(known, str(error))
        interval = min(max(DAY, timedelta(days=round(index.check_again_s / 86400))), MAX_PAUSE)
        next_check = Pause(now, now + interval * (1 + JITTER * self._rng.random()))
        problem = self._save_check(replace(state, answers=dict(index.answers), pause=next_check))
        seam.send_if_due(self.state, self._deadline / 2)
        return replace(index, notice=" ".join(filter(None, (index.notice, problem, removed))) or None)

    def claim_notification(self, rows: tuple[UpdateRow, ...]) -> list[UpdateRow]:
        """Return updates not notified before, and record them; none if opted out or notified within a day."""
        now, state = self.settings.now(), self.state.read_check()
        updates = {f"{row.name}=={row.target}": row for row in rows if row.status is Status.UPDATE}
        new = [row for name, row in updates.items() if name not in state.notified]
        is_early = state.notified_at is not None and state.notified_at <= now < state.notified_at + NOTIFY_INTERVAL
        if not self.state.notifications_enabled() or is_early or not new:
            return []
        installed = {row.name for row in rows}
        told = {one for one in state.notified if one.partition("==")[0] in installed} | set(updates)
        return new if self._save_check(replace(state, notified=frozenset(told), notified_at=now)) is None else []

    def _environment_notice(self) -> str | None:
        if (development := self.environment.development_napari) is not None:
            return f"napari {development} is a development version, so updates are shown for {self.environment.napari}."
        if self.environment.is_free_threaded:
            return "This Python is free-threaded; some updates with compiled code may not support it."
        return None

    def _save_check(self, state: CheckState) -> str | None:
        try:
            self.state.write_check(state)
        except StateError as error:
            return str(error)
        return None

    def _next_pause(self, error: UpdateHookError, before: Pause | None) -> Pause:
        """Return the next back-off: double the last one, but at least what the server asks for."""
        now = self.settings.now()
        header = retry_after_s(error.retry_after, now) if isinstance(error, ServerAnswerError) else None
        failures = (before.failures if before is not None else 0) + 1
        own = min(FIRST_RETRY * 2 ** min(failures - 1, 20), MAX_PAUSE) * (1 + JITTER * self._rng.random())
        asked = timedelta(seconds=min(header or 0.0, MAX_PAUSE.total_seconds()))
        return Pause(now, now + max(own, asked), failures, header is not None, str(error))


def is_active(pause: Pause, now: datetime) -> bool:
    """Return whether a pause is in effect. A pause is ignored if the clock was set back."""
    return pause.set_at <= now < pause.not_before <= pause.set_at + MAX_PAUSE * (1 + JITTER)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Return the seconds in ``Retry-After``, a number or an HTTP date (RFC 9110, section 10.2.3), or None if invalid."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError, TypeError):
        date = parsedate_to_datetime(text)
        return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=timezone.utc)) - now).total_seconds())
    return None


def _with_cache_notice(known: Index, why: str | None) -> Index:
    notice = f"{why} Showing the result of {known.fetched_at:%Y-%m-%d %H:%M} UTC." if why else None
    return replace(known, answers={}, notice=" ".join(filter(None, (notice, known.notice))) or None)


def current_client(server: str | None = None) -> UpdateClient:
    settings = current_settings(server)
    return UpdateClient(settings, State(settings.state, environment_id(Path(sys.prefix))), read_environment(), detect_install())
