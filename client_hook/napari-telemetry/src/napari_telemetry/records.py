"""Data types of the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from napari_telemetry.consent_rules import ConsentRecord
from napari_telemetry.environment import EnvironmentInfo
from napari_telemetry.layers import LayerKind
from napari_telemetry.weeks import is_open, week_of
from napari_telemetry.wire import Level


class Draft(Struct, frozen=True):
    """Data collected for a week's report.

    ``level``: the highest level of its data; ``rejected``: why a server rejected it, or None.
    """

    week: str
    consent: int
    level: Level
    info: EnvironmentInfo
    version: int
    sent_version: int
    rejected: str | None

    @property
    def is_unsent(self) -> bool:
        return self.version > self.sent_version


class Counts(Struct, frozen=True):
    """Exact numbers of uses; reports contain them rounded down."""

    commands: Mapping[str, int] = {}
    layers: Mapping[LayerKind, int] = {}


class Backoff(Struct, frozen=True):
    """When the next request may be sent.

    ``failures``: number of consecutive failures; ``reason``: text for the user.
    """

    set_at: datetime
    not_before: datetime
    failures: int = 0
    reason: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Whether to wait. A pause set in the future is ignored: the clock was set back."""
        return self.set_at <= now < self.not_before <= self.set_at + timedelta(days=8)


class PreparedBatch(Struct, frozen=True):
    """A request body ready to be sent."""

    """A request body ready to be sent."""

    service: str
    server: str
    week: str
    level: Level
    identifier: str
    revision: int
    version: int
    consent: int
    body: bytes


class SentBatch(Struct, frozen=True):
    """An entry of the outbox.

    ``receipt``: as received, or empty. ``state``: sending, answered or lost.
    """

    at: datetime
    service: str
    server: str
    week: str
    level: Level
    identifier: str
    request: str
    receipt: str = ""
    state: str = "sending"
    is_to_delete: bool = False


class View(Struct, frozen=True):
    """The stored state of an environment. ``forgotten``: weeks that must not be sent."""

    history: list[ConsentRecord] = []
    prompts: list[datetime] = []
    secrets: tuple[bytes, bytes] | None = None
    drafts: list[Draft] = []
    counts: dict[str, Counts] = {}
    sent: list[SentBatch] = []
    """Sent from this environment."""
    identifiers: list[SentBatch] = []
    """One batch per identifier of the account under which a server may store reports."""
    deletions: list[tuple[str, str, str]] = []
    """(week, server, identifier) of pending deletions."""
    revisions: dict[str, int] = {}
    first_week: str | None = None
    forgotten: list[str] = []
    backoff: Backoff | None = None

    @property
    def consent(self) -> ConsentRecord | None:
        return self.history[-1] if self.history else None

    def next_draft(self, now: datetime, level: Level) -> Draft | None:
        """Return the next draft to send: older drafts first, rejected ones last."""
        ready = [
            draft
            for draft in self.drafts
            if draft.is_unsent and draft.week not in self.forgotten and draft.week <= week_of(now) and is_open(draft.week, now)
        ]
        if level is Level.NONE:
            return None
        return min(ready, key=lambda draft: (draft.rejected is not None, draft.week), default=None)
