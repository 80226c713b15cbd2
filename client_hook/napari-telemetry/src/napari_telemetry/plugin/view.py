"""What is shown of a snapshot: words and cells. Pure, and without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_telemetry.formatting import pretty, pretty_json
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.texts import counted, tr

if TYPE_CHECKING:
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.state import SentBatch
    from napari_telemetry.updates import UpdateRow

NAMES_IN_A_NOTICE = 4


@dataclass(frozen=True)
class Indicator:
    """What the status bar says. ``is_alert``: something is wrong, and the tooltip says what to do."""

    text: str
    tooltip: str
    is_alert: bool = False


def indicator_of(snapshot: Snapshot) -> Indicator | None:
    """Return what the status bar shall say; None as long as nothing is known."""
    if snapshot.problem is not None:
        return Indicator(tr("telemetry: off"), snapshot.problem, is_alert=True)
    status = snapshot.status
    if status is None:
        return None
    state = telemetry_state(snapshot, status)
    updates = _updates(snapshot)
    text = tr("telemetry: {state}", state=state)
    if updates:
        text = counted(updates, "{n} update", "{n} updates") + " \N{MIDDLE DOT} " + text
    tips = [telemetry_sentence(snapshot, status)]
    tips += status.problems
    if updates:
        tips.append(counted(updates, "{n} update fits your Python.", "{n} updates fit your Python."))
    tips.append(tr("Click for details."))
    return Indicator(text, "\n".join(tips), is_alert=bool(status.problems))


def takes_reports(snapshot: Snapshot) -> bool:
    """Return whether the server is known to take reports: today's plugin index takes none, and has no pages about them."""
    return snapshot.result is not None and snapshot.result.index_version is not None


def telemetry_state(snapshot: Snapshot, status: ClientStatus) -> str:
    """Return in a word or two how telemetry stands: off, a level, who blocks it, or that an answer is waited for."""
    if status.switch_name is not None:
        return tr("blocked by {name}", name=status.switch_name)
    level = status.level.value
    if level == "none":
        waits = status.open_question is not None and (snapshot.result is None or takes_reports(snapshot))
        return tr("waiting for your answer") if waits else tr("off")
    return tr("{level}, sending", level=level) if snapshot.is_sending else level


def telemetry_sentence(snapshot: Snapshot, status: ClientStatus) -> str:
    """Return in a sentence or two what is sent, to whom, until when; or why nothing is."""
    level = status.level.value
    if snapshot.result is not None and not takes_reports(snapshot) and status.switch_name is None:
        return tr("Nothing is sent: {service} is a plugin index that takes no reports.", service=status.service)
    if level == "none":
        if status.switch_name is None and status.open_question is not None and status.consent is None:
            return tr("Nothing is sent: you have not answered yet whether you want to take part.")
        return status.reason or tr("Nothing is sent.")
    told = tr("A weekly report of level {level} goes to {service}.", level=level, service=status.service)
    if snapshot.is_sending:
        told = tr("A report of level {level} is on its way to {service}.", level=level, service=status.service)
    if status.consent is not None and status.consent.until is not None:
        told += " " + tr("You agreed to it until {day}.", day=f"{status.consent.until:%Y-%m-%d}")
    return f"{told} {status.reason}" if status.reason else told


def telemetry_facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the lines of the telemetry page: (what, how it stands)."""
    status = snapshot.status
    if status is None:
        return []
    record = status.consent
    lines = [(tr("Now"), telemetry_sentence(snapshot, status))]
    if status.switch is not None:
        lines.append((tr("Switched off by"), status.switch))
    if record is not None:
        until = f"{record.until:%Y-%m-%d}" if record.until else tr("you change it")
        lines.append((tr("Your answer"), tr("{level}, until {until}", level=record.level.value, until=until)))
        lines.append((tr("Given"), tr("{at} UTC by {means}", at=f"{record.at:%Y-%m-%d %H:%M}", means=record.means)))
    last = f"{status.last_sent:%Y-%m-%d %H:%M} UTC" if status.last_sent else tr("never")
    lines.append((tr("Last report"), last))
    ids = snapshot.ids
    if ids is not None and ids.identifier is not None:
        lines.append((tr("Your identifier in {week}", week=ids.week), ids.identifier))
    if status.forgotten:
        lines.append((tr("Forgotten"), tr("{weeks}: nothing more is sent for them", weeks=", ".join(status.forgotten))))
    return lines + [(tr("Problem"), problem) for problem in status.problems]


def shown_rows(snapshot: Snapshot) -> list[UpdateRow]:
    """Return the rows of the table of updates: what needs attention first, then as they come."""
    rows = snapshot.result.rows if snapshot.result is not None else []
    return sorted(rows, key=lambda row: not row.needs_attention)


def cells_of(row: UpdateRow) -> tuple[str, str, str, str, str]:
    """Return the texts of a row: name, installed, fits your Python, newest, note."""
    none = "\N{EN DASH}"
    note = row.note or (tr("update") if row.status.value == "update" else "")
    return row.name, row.installed, row.latest or none, row.newest or none, note


def mark_of(row: UpdateRow) -> str:
    """Return how a row is marked: ``unsafe``, ``update``, or not at all."""
    return "unsafe" if row.is_unsafe else "update" if row.status.value == "update" else ""


def updates_summary(snapshot: Snapshot) -> str:
    """Return what to say above the table."""
    if snapshot.problem is not None:
        return snapshot.problem
    status, result = snapshot.status, snapshot.result
    if status is not None and status.check_switch is not None:
        return tr("The update check is off: {reason}.", reason=status.check_switch)
    if snapshot.is_busy(Task.CHECK):
        return tr("Asking for updates…")
    failure = snapshot.failures.get(Task.CHECK)
    if result is None:
        return failure or tr("Nothing is known yet. Press Check now to ask.")
    from napari_telemetry.updates import summary_of

    told = summary_of(result.rows)
    notes = [failure or result.notice or ""]
    if not failure and not result.notice:
        notes = [tr("Checked {at} UTC at {server}.", at=f"{result.fetched_at:%Y-%m-%d %H:%M}", server=result.server)]
    return " ".join([told, *notes])


def notice_text(updates: Sequence[tuple[str, str]]) -> str:
    """Return the text of a notification: how many updates fit, and their names. ``updates``: (name, version)."""
    names = [f"{name} {version}" for name, version in updates[:NAMES_IN_A_NOTICE]]
    more = len(updates) - len(names)
    told = counted(len(updates), "{n} update fits your Python: ", "{n} updates fit your Python: ") + ", ".join(names)
    return told + (tr(" and {more} more", more=more) if more else "")


def sent_text(snapshot: Snapshot) -> str:
    """Return everything that was sent from this environment, the newest first, each with the server's receipt."""
    parts = [_batch_text(batch) for batch in reversed(snapshot.sent)]
    return "\n\n".join(parts) or tr("Nothing was sent from this environment in the last 60 days.")


@lru_cache(maxsize=128)  # drawn with every snapshot, and it never changes
def _batch_text(batch: SentBatch) -> str:
    receipt = batch.receipt or tr("no answer came; the server may have it or not")
    head = f"{batch.at:%Y-%m-%d %H:%M:%S} UTC  {batch.week}  {batch.level.value}  {batch.server or batch.service}"
    return "\n".join([head, pretty_json(batch.request), tr("Receipt: {receipt}", receipt=receipt)])


def copies_text(snapshot: Snapshot) -> str:
    """Return what servers said that they hold."""
    if snapshot.copies is None:
        return tr("Not asked yet.")
    parts = []
    for copy in snapshot.copies:
        at = copy.asked.server or copy.asked.service
        head = f"{copy.asked.week}, {at}: " + counted(len(copy.reports), "{n} report", "{n} reports")
        bodies = [pretty(one.report) for one in copy.reports]
        parts.append("\n".join([head, *bodies, *([copy.problem] if copy.problem else [])]))
    return "\n\n".join(parts) or tr("No server can hold anything of you: nothing was sent in the last 60 days.")


def ids_text(snapshot: Snapshot) -> str:
    """Return under which pseudonyms reports go, and how they are made."""
    ids = snapshot.ids
    if ids is None or ids.identifier is None:
        lines = [tr("You have none: the secret from which they are made exists only while an environment has your consent.")]
    else:
        lines = [
            tr("{week} at {service}", week=ids.week, service=ids.service),
            tr("identifier: {identifier}", identifier=ids.identifier),
            tr("environment: {environment}", environment=ids.environment),
            "",
            tr("Both are made with a random secret that never leaves this computer, and are new every week."),
        ]
    if ids is not None and ids.sent:
        lines += ["", tr("A server may hold reports of these:")]
        lines += [f"{one.week}  {one.level.value}  {one.server or one.service}  {one.identifier}" for one in ids.sent]
    return "\n".join(lines)


def forgotten_text(snapshot: Snapshot) -> str:
    """Return what became of forgetting, or what is under way; empty where nobody asked for it."""
    if snapshot.is_busy(Task.FORGET):
        return snapshot.progress or tr("Deleting…")
    done = snapshot.forgotten
    if done is None:
        return snapshot.failures.get(Task.FORGET, "")
    deleted = sum(done.on_servers.values())
    told = counted(deleted, "{n} report was deleted on servers.", "{n} reports were deleted on servers.")
    if done.problems:
        told += " " + tr("Not deleted: {problems} Try again later.", problems=" ".join(done.problems))
    return told


def _updates(snapshot: Snapshot) -> int:
    rows = snapshot.result.rows if snapshot.result is not None else []
    return sum(row.status.value == "update" for row in rows)
