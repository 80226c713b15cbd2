"""The texts that the widgets show. Pure functions, without Qt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_update_hook.plan import Verdict
    from napari_update_hook.plugin.session import Snapshot
    from napari_update_hook.updates import UpdateRow

MAX_NAMES_IN_NOTICE = 4
UNSAFE, UPDATE, HELD_BACK, UP_TO_DATE = "Should not be used", "Update", "Held back", "Up to date"
WARNING = "\N{WARNING SIGN} "
NAPARI_HINT = "napari cannot be updated while it runs. Close it, and run in its environment: napari-updates update"


@dataclass(frozen=True)
class Indicator:
    """The content of the status bar button. ``is_alert``: an installed release should not be used; the tooltip says why."""

    text: str
    tooltip: str
    is_alert: bool = False


def indicator_of(snapshot: Snapshot) -> Indicator | None:
    if snapshot.result is None:
        return None
    rows = snapshot.result.rows
    updates, unsafe = sum(row.status.value == "update" for row in rows), [row for row in rows if row.is_unsafe]
    text = f"{updates} update{'' if updates == 1 else 's'}" if updates else "Plugins up to date"
    if snapshot.is_changing:
        text = "Updating…"
    tips = [f"{row.name}: {row.note}" for row in unsafe]
    return Indicator(text, "\n".join([summary_text(snapshot), *tips, "Click for details."]), bool(unsafe))


def group_of(row: UpdateRow) -> str:
    from napari_update_hook.versions import is_newer

    if row.is_unsafe:
        return UNSAFE
    if row.status.value == "update":
        return UPDATE
    is_behind = row.status.value in ("held back", "snoozed") or is_newer(row.newest, row.installed)
    return HELD_BACK if is_behind else UP_TO_DATE


def groups_of(snapshot: Snapshot, searched: str = "") -> list[tuple[str, list[UpdateRow]]]:
    """Return the headings with their rows, most urgent first. ``searched``: text to find in names."""
    rows = snapshot.result.rows if snapshot.result is not None else ()
    wanted = searched.strip().lower()
    groups: dict[str, list[UpdateRow]] = {name: [] for name in (UNSAFE, UPDATE, HELD_BACK, UP_TO_DATE)}
    for row in rows:
        if wanted in row.name.lower():
            groups[group_of(row)].append(row)
    return [(name, members) for name, members in groups.items() if members]


def versions_text(row: UpdateRow) -> str:
    to = row.target or (row.newest if group_of(row) == HELD_BACK else None)
    return (WARNING if row.is_unsafe else "") + row.installed + (f" → {to}" if to else "")


def spoken_text(row: UpdateRow) -> str:
    to = f", update to {row.target}" if row.target else ""
    return f"{row.name}, {row.installed} is installed{to}, {group_of(row).lower()}"


def summary_text(snapshot: Snapshot) -> str:
    if snapshot.problem is not None:
        return snapshot.problem
    if snapshot.is_checking:
        return "Asking for updates…"
    result = snapshot.result
    if result is None:
        return snapshot.failure or "No check yet. Press Check now."
    from napari_update_hook.updates import summary_of

    parts = [summary_of(result.rows, result.unlisted, has_requirements=result.index_version is not None), *result.plan.notes]
    parts += [text for text in (result.how.reason, snapshot.failure or result.notice) if text]
    parts += ["Restart napari to use the installed updates."] if snapshot.needs_restart else []
    return " ".join(parts)


def checked_text(snapshot: Snapshot) -> str:
    result = snapshot.result
    return f"Checked {result.fetched_at:%Y-%m-%d %H:%M} UTC at {result.server}" if result is not None else ""


def can_update(snapshot: Snapshot, row: UpdateRow | None = None) -> bool:
    """Return whether a row can be updated now, or, without a row, any."""
    result = snapshot.result
    if result is None or result.how.reason is not None or snapshot.is_installing or snapshot.is_checking:
        return False
    return bool(result.plan.updates) if row is None else row.status.value == "update"


def details_html(snapshot: Snapshot, row: UpdateRow | None, link_colour: str = "#0645ad") -> str:
    """Return the details of a row as HTML, with text from servers and plugins escaped."""
    result = snapshot.result
    if row is None or result is None:
        return ""
    lines = [f"<b>{escape(row.name)}</b> {escape(versions_text(row))}", escape(row.note)]
    links = [("Release", row.release_page), ("Changelog", row.changelog)]
    lines.append(
        " · ".join(f'<a style="color: {link_colour}" href="{escape(to, quote=True)}">{text}</a>' for text, to in links if to)
    )
    if row.name == "napari" and result.next_napari is not None:
        version, verdicts = result.next_napari
        lines += [escape(NAPARI_HINT), f"<b>With napari {escape(version)}</b>", *map(escape, verdict_lines(verdicts))]
    return "<br>".join(line for line in lines if line)


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the effect of a napari release on the plugins, problems first."""
    verdicts = list(verdicts)
    found = []
    for answer, text in (
        ("excludes it", "Would not work"),
        ("no release yet", "No release for it yet"),
        ("update", "Need an update"),
    ):
        named = [f"{one.name} ({one.reason})" for one in verdicts if one.answer.startswith(answer)]
        found += [f"{text}: {', '.join(named)}"] if named else []
    fine = sum(one.answer == "fine" for one in verdicts)
    return [*found, f"Work without an update: {fine} of {len(verdicts)} plugins"]


def notice_text(rows: Sequence[UpdateRow]) -> str:
    names = [f"{row.name} {row.target}" for row in rows[:MAX_NAMES_IN_NOTICE]]
    more = f" and {len(rows) - len(names)} more" if len(rows) > len(names) else ""
    return f"{'There is 1 update' if len(rows) == 1 else f'There are {len(rows)} updates'}: {', '.join(names)}{more}"
