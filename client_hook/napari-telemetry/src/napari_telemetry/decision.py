"""What a person agreed to, and whether that holds now. Pure: records and instants in, a decision out."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from msgspec import Struct

from napari_telemetry.settings import ClientSettings
from napari_telemetry.switches import telemetry_switched_off
from napari_telemetry.wire import SCHEMA_VERSION, Level


class ConsentRecord(Struct, frozen=True):
    """One answer: when, which level, for which schema version and service, until when, given by which means."""

    at: datetime
    level: Level
    schema_version: int
    service: str
    until: datetime | None
    means: str


class Decision(Struct, frozen=True):
    """What may be sent now.

    ``reason`` says in a sentence why that is nothing, or less than the person agreed to. ``is_restricted``: whether they agreed
    to more, and so should hear the reason unasked. ``is_busy``: the record could not be read just now, so nothing may be sent.
    """

    level: Level
    reason: str | None = None
    is_restricted: bool = False
    is_busy: bool = False


def decide(record: ConsentRecord | None, settings: ClientSettings, now: datetime) -> Decision:
    """Return the level in force. Telemetry is off unless a record says otherwise, and off whatever it says if a switch is."""
    if (switch := telemetry_switched_off(settings.environ, settings.site)) is not None:
        agreed = record is not None and record.level is not Level.NONE
        return Decision(Level.NONE, f"Telemetry is off: {switch}.", agreed)
    if record is None:
        return Decision(Level.NONE, "Telemetry is off: nobody agreed to it.")
    if record.level is Level.NONE:
        return Decision(Level.NONE, "Telemetry is off: your answer was none.")
    if record.service != settings.service:
        reason = f"Nothing is sent to {settings.service}: your consent is for {record.service}, and holds for that one alone."
        return Decision(Level.NONE, reason, True)
    if record.until is not None and has_ended(record, now):
        renew = f"napari-telemetry consent set {record.level}"
        return Decision(Level.NONE, f"Your consent ended on {record.until:%Y-%m-%d}. To renew it: {renew}", True)
    if record.schema_version < SCHEMA_VERSION:
        return Decision(Level.NONE, "This version collects more than you agreed to: look at it, then answer again.", True)
    maximum = settings.site.maximum_level
    if not maximum.includes(record.level):
        files = ", ".join(settings.site.sources)
        return Decision(maximum, f"The administrator of this computer allows level {maximum} at most ({files}).", True)
    return Decision(record.level)


def agreed_level(record: ConsentRecord | None, settings: ClientSettings, now: datetime) -> Level:
    """Return what a person agreed to and what still holds, whatever switches and administrators say."""
    if record is None or record.service != settings.service or has_ended(record, now) or record.schema_version < SCHEMA_VERSION:
        return Level.NONE
    return record.level


def is_continued(previous: ConsentRecord | None, record: ConsentRecord) -> bool:
    """Tell whether a new answer goes on from one that holds, so that what was collected under that may still be sent.

    Nothing from before a consent is ever sent; so where the old one was none, had ended, was for another service, or for a
    schema that collected less, everything starts anew.
    """
    return (
        previous is not None
        and Level.NONE not in (previous.level, record.level)
        and previous.service == record.service
        and previous.schema_version == record.schema_version
        and not has_ended(previous, record.at)
    )


def has_ended(record: ConsentRecord | None, now: datetime) -> bool:
    """Tell whether there is no consent any more: none was given, it was withdrawn, or its time is over."""
    return record is None or record.level is Level.NONE or (record.until is not None and now >= record.until)


_DURATION = re.compile(r"([0-9]{1,4})([dwm])")
_DAYS = {"d": 1, "w": 7, "m": 30}


def parsed_duration(text: str) -> timedelta:
    """Read ``90d``, ``12w`` or ``3m`` (a month is 30 days). Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no length of time: write it like 90d, 12w or 3m")
    return timedelta(days=int(match[1]) * _DAYS[match[2]])
