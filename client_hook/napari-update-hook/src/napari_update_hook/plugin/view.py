"""What is shown of a snapshot: words and cells. Pure, and without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_update_hook.plugin.session import Snapshot
    from napari_update_hook.updates import UpdateRow

NAMES_IN_A_NOTICE = 4
EN_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Indicator:
    """What the status bar says. ``is_alert``: something installed should not be used any more, and the tooltip says so."""

    text: str
    tooltip: str
    is_alert: bool = False


def indicator_of(snapshot: Snapshot) -> Indicator | None:
    """Return what the status bar says; None while nothing is known."""
    if snapshot.result is None:
        return None
    rows = snapshot.result.rows
    updates, unsafe = _updates(rows), [row for row in rows if row.is_unsafe]
    text = f"{updates} update{'' if updates == 1 else 's'}" if updates else "Plugins up to date"
    tips = [f"{row.name}: {row.note}" for row in unsafe]
    return Indicator(text, "\n".join([summary_text(snapshot), *tips, "Click for details."]), bool(unsafe))


def shown_rows(snapshot: Snapshot) -> list[UpdateRow]:
    """Return the rows of the table: what needs attention first, then as they come."""
    rows = snapshot.result.rows if snapshot.result is not None else ()
    return sorted(rows, key=lambda row: not row.needs_attention)


def cells_of(row: UpdateRow) -> tuple[str, str, str, str]:
    """Return the texts of a row: name, installed, update to, note."""
    return row.name, row.installed, row.target or EN_DASH, row.note


def mark_of(row: UpdateRow) -> str:
    """Return how a row is marked: ``unsafe``, ``update``, or not at all."""
    return "unsafe" if row.is_unsafe else "update" if row.status.value == "update" else ""


def summary_text(snapshot: Snapshot) -> str:
    """Return what to say above the table."""
    if snapshot.problem is not None:
        return snapshot.problem
    if snapshot.is_checking:
        return "Asking for updates…"
    result = snapshot.result
    if result is None:
        return snapshot.failure or "No check yet. Press Check now."
    from napari_update_hook.updates import summary_of

    checked = f"Checked {result.fetched_at:%Y-%m-%d %H:%M} UTC at {result.server}."
    parts = [
        summary_of(result.rows, result.unlisted, fits_known=result.index_version is not None),
        *result.plan.notes,
        snapshot.failure or result.notice or checked,
    ]
    return " ".join(parts)


def command_text(snapshot: Snapshot) -> str | None:
    """Return the command that installs all updates together, None where there is none."""
    how = snapshot.result.how if snapshot.result is not None else None
    if how is None or not how.commands:
        return None
    texts = [one.texts() for one in how.commands]  # by shell; on Windows, PowerShell is the usual one
    return "\n".join(one.get("PowerShell") or next(iter(one.values())) for one in texts)


def details_text(snapshot: Snapshot, row: UpdateRow | None) -> str:
    """Return what to say below the table: of the chosen row, and how to install all updates."""
    result = snapshot.result
    parts = [row.note if row is not None else "", command_text(snapshot) or ""]
    if result is not None and result.how.reason is not None:
        parts.append(result.how.reason)
    return "\n".join(part for part in parts if part)


def notice_text(rows: Sequence[UpdateRow]) -> str:
    """Return the text of a notification: how many updates there are, and their names."""
    names = [f"{row.name} {row.target}" for row in rows[:NAMES_IN_A_NOTICE]]
    more = f" and {len(rows) - len(names)} more" if len(rows) > len(names) else ""
    return f"{'There is 1 update' if len(rows) == 1 else f'There are {len(rows)} updates'}: {', '.join(names)}{more}"


def _updates(rows: Sequence[UpdateRow]) -> int:
    return sum(row.status.value == "update" for row in rows)
