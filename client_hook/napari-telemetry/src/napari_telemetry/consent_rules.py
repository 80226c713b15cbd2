"""Decide which level a user's consent allows, and when to ask for consent. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum

from msgspec import Struct

from napari_telemetry.settings import TelemetrySettings, lowest
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, fields_of

MAX_PROMPTS = 3
PROMPT_INTERVAL = timedelta(days=30)
SERVER_SWITCHED_OFF = "the server does not accept the level"
"""Start of ``means`` if the server, not the user, ended the consent."""


class ConsentRecord(Struct, frozen=True):
    """A user's answer.

    ``means``: how it was given; ``number``: its row in the state file, 0 before it is saved.
    """

    at: datetime
    level: Level
    schema_version: int
    service: str
    until: datetime | None
    means: str
    number: int = 0


class Decision(Struct, frozen=True):
    """The effective level. ``reason``: why it is below the agreed level, or None."""

    level: Level
    reason: str | None = None


def decide(
    record: ConsentRecord | None,
    settings: TelemetrySettings,
    now: datetime,
    *,
    is_installed: bool = True,
    takes_reports: bool | None = None,
) -> Decision:
    """Return the effective level: the lowest of consent, Preferences, the administrator's maximum, and opt-outs.

    ``is_installed``: whether the package stayed installed since the consent. ``takes_reports``: None before the first update
    check.
    """
    if (opt_out := settings.opt_out()) is not None:
        return Decision(Level.NONE, f"Telemetry is off: {opt_out}.")
    if record is None:
        return Decision(Level.NONE, "Telemetry is off: you have not agreed to it.")
    if record.level is Level.NONE:
        by_server = record.means.startswith(SERVER_SWITCHED_OFF)
        return Decision(Level.NONE, f"Telemetry is off: {record.means if by_server else 'you chose not to share'}.")
    if record.service != settings.service:
        return Decision(Level.NONE, f"Nothing is sent to {settings.service}: your consent is only for {record.service}.")
    again = f"To agree again: napari-telemetry consent set {record.level}"
    if record.until is not None and has_ended(record, now):
        return Decision(Level.NONE, f"Your consent ended on {record.until:%Y-%m-%d}. {again}")
    if record.schema_version < SCHEMA_VERSION:
        return Decision(Level.NONE, "This version collects more than you agreed to. Review the changes, then answer again.")
    if not is_installed:
        return Decision(Level.NONE, f"The package was removed from this environment, which ended your consent. {again}")
    if takes_reports is False:
        return Decision(Level.NONE, f"Nothing is sent: {settings.service} accepts no reports.")
    maximum = settings.preferences()
    level = lowest(record.level, settings.site.maximum_level, maximum.level)
    if level is record.level:
        return Decision(level)
    if maximum.level is level:
        reason = f"The maximum level in napari's Preferences is {level}."
        return Decision(level, reason if maximum.is_chosen else "Nothing is sent: napari's Preferences cannot be read.")
    return Decision(
        level, f"The administrator of this computer allows level {level} at most ({', '.join(settings.site.sources)})."
    )


def has_ended(record: ConsentRecord | None, now: datetime) -> bool:
    """Whether there is no consent, or it was withdrawn or has expired."""
    """Whether there is no consent, or it was withdrawn or has expired."""
    return record is None or record.level is Level.NONE or (record.until is not None and now >= record.until)


def extends_consent(previous: ConsentRecord | None, record: ConsentRecord) -> bool:
    """Whether the new consent extends the previous one, so that data collected under that may still be sent."""
    return (
        previous is not None
        and Level.NONE not in (previous.level, record.level)
        and previous.service == record.service
        and previous.schema_version == record.schema_version
        and not has_ended(previous, record.at)
    )


class PromptReason(str, Enum):
    """Why the user is asked."""

    """Why the user is asked."""

    FIRST = "you have not answered yet"
    ENDED = "your consent has expired"
    GROWN = "this version collects more than you agreed to"
    ELSEWHERE = "your consent was for another server"
    REMOVED = "napari-telemetry was removed from this environment, which ended your consent"


class Change(Struct, frozen=True):
    """A field added since the user's answer. ``level``: the lowest level that sends it."""

    level: Level
    name: str
    type: str
    description: str

    @property
    def sentence(self) -> str:
        return f"Level {self.level} now also sends {self.name}: {self.description} ({self.type})."


class Prompt(Struct, frozen=True):
    """A pending question. ``previous``: the answer that is no longer in effect; ``changes``: fields added since."""

    reason: PromptReason
    previous: ConsentRecord | None = None
    changes: list[Change] = []


def prompt_due(prompts: Sequence[datetime], record: ConsentRecord | None, now: datetime) -> bool:
    """Whether to ask now: at first immediately, then 30 days after each unanswered prompt, three times in all."""
    unanswered = [at for at in prompts if record is None or at > record.at]
    return len(unanswered) < MAX_PROMPTS and not (unanswered and unanswered[-1] <= now < unanswered[-1] + PROMPT_INTERVAL)


def pending_prompt(
    record: ConsentRecord | None, settings: TelemetrySettings, now: datetime, *, is_installed: bool = True
) -> Prompt | None:
    """Return why to ask, or None if the last answer, which may be level none, is in effect."""
    if settings.opt_out() is not None or (record is not None and record.level is Level.NONE):
        return None
    if record is None:
        return Prompt(PromptReason.FIRST)
    reasons = {
        PromptReason.ELSEWHERE: record.service != settings.service,
        PromptReason.ENDED: has_ended(record, now),
        PromptReason.GROWN: record.schema_version < SCHEMA_VERSION,
        PromptReason.REMOVED: not is_installed,
    }
    reason = next((reason for reason, applies in reasons.items() if applies), None)
    return Prompt(reason, record, changes_since(record.schema_version)) if reason is not None else None


def changes_since(schema_version: int) -> list[Change]:
    """Return the fields added after a schema version."""
    """Return the fields added after a schema version."""
    changes: dict[str, Change] = {}
    for level in TELEMETRY_LEVELS:
        for field in fields_of(level):
            if field.since > schema_version:
                changes.setdefault(field.name, Change(level, field.name, field.type, field.description))
    return list(changes.values())
