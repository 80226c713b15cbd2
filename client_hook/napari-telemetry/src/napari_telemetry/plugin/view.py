"""What is shown of a snapshot: words and cells. Pure, and without Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_telemetry.formatting import pretty, pretty_json
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.texts import counted, tr

if TYPE_CHECKING:
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.state import SentBatch


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
    text = tr("telemetry: {state}", state=telemetry_state(snapshot, status))
    tips = [telemetry_sentence(snapshot, status), *status.problems, tr("Click for details.")]
    return Indicator(text, "\n".join(tips), is_alert=bool(status.problems))


def telemetry_state(snapshot: Snapshot, status: ClientStatus) -> str:
    """Return in a word or two how telemetry stands: off, a level, who blocks it, or that an answer is waited for."""
    if status.switch_name is not None:
        return tr("blocked by {name}", name=status.switch_name)
    level = status.level.value
    if level == "none":
        waits = status.open_question is not None and snapshot.takes_reports is not False
        return tr("waiting for your answer") if waits else tr("off")
    return tr("{level}, sending", level=level) if snapshot.is_sending else level


def telemetry_sentence(snapshot: Snapshot, status: ClientStatus) -> str:
    """Return in a sentence or two what is sent, to whom, until when; or why nothing is."""
    level = status.level.value
    if snapshot.takes_reports is False and status.switch_name is None:
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
