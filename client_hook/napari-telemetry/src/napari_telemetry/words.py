"""User-visible texts shared by the command line and the GUI."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from napari_telemetry.wire import Level

if TYPE_CHECKING:  # the GUI thread imports this module
    from napari_telemetry.client import Forgotten, ServerCopy, Status
    from napari_telemetry.consent_rules import ConsentRecord, Prompt
    from napari_telemetry.records import SentBatch

TITLE = "Share usage reports with napari's maintainers?"
WHY = (
    "A small team builds napari and hardly knows how many people use it. A weekly report helps it decide what to support. "
    "Reports become public statistics for maintainers: counts of people, never below ten. Each report is deleted after 60 days."
)
HOW_TO_STOP = (
    "You can change your answer at any time, here or with the command napari-telemetry off. "
    "Update checks work the same either way."
)
ABOUT_EXAMPLES = (
    "This is what would be sent now, with sample identifiers. The real report may list more plugins: "
    "the server's complete lists are fetched only after you agree."
)
NO_TABLE = (
    "This is what would be sent now, with sample identifiers. Plugins and the napari version are missing "
    "until the first update check fetches the list of public plugins."
)
REMOVE = "You no longer need napari-telemetry and can remove it."
FORGET = "Delete all your reports, on the servers and on this computer? Nothing more is sent for these weeks."
NOTHING_SENT = "Nothing was sent from this environment in the last 60 days."
HOW_IDS_ARE_MADE = (
    "Both change every week and cannot be linked across weeks. They are made from random 32-byte secrets that never leave "
    "this computer. The identifier is the first 32 hexadecimal digits of an HMAC-SHA256 of the server's address and the week, "
    "each preceded by its length in four bytes. The environment's pseudonym is the first 8 digits of an HMAC-SHA256 of the "
    "week, with a second secret."
)
NO_IDS = "No identifier: one exists only while you consent."


def pretty_json(body: bytes | str | Any) -> str:
    value = json.loads(body) if isinstance(body, bytes | str) else body
    return json.dumps(value, indent=2, ensure_ascii=False)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def questions_of(level: Level) -> list[str]:
    """Return the public questions that ``level`` helps to answer and lower levels do not.

    ``python -m aggregation catalogue --questions`` generates ``questions.json``; a test compares it with the catalogue.
    """
    questions: dict[str, list[str]] = json.loads(files("napari_telemetry").joinpath("questions.json").read_text("utf-8"))
    return questions.get(level.value, [])


def introduction(service: str, prompt: Prompt | None, takes_reports: bool | None) -> list[str]:
    paragraphs = [f"You are asked again because {prompt.reason.value}."] if prompt and prompt.previous else []
    paragraphs += [change.sentence for change in (prompt.changes if prompt else [])]
    if takes_reports is False:
        paragraphs.append(f"{service} accepts no reports, so there is nothing to agree to.")
    return [*paragraphs, f"{WHY} They go to {service}.", HOW_TO_STOP]


def short_state(status: Status) -> str:
    level = status.decision.level
    if level is Level.NONE:
        return "off"
    is_forgotten = status.week in status.view.forgotten
    return f"{level}, from next week" if is_forgotten else level.value


def sentence(status: Status) -> str:
    service, decision = status.settings.service, status.decision
    if decision.level is Level.NONE:
        return decision.reason or "Nothing is sent."
    said = f"A weekly report of level {decision.level} is sent to {service}, at most once a day while it changes."
    if status.view.consent is not None and status.view.consent.until is not None:
        said += f" Your consent ends on {status.view.consent.until:%Y-%m-%d}."
    return f"{said} {decision.reason}" if decision.reason else said


def answer_text(record: ConsentRecord) -> str:
    until = f"until {record.until:%Y-%m-%d}" if record.until else "until you change it"
    return f"{record.level} for {record.service}, {until}, given {record.at:%Y-%m-%d %H:%M} UTC by {record.means}"


def next_report(status: Status) -> str:
    view, now = status.view, status.settings.now()
    if status.decision.level is Level.NONE:
        return "none"
    draft = view.next_draft(now, status.decision.level)
    if draft is None and status.week in view.forgotten:
        return f"of the week after {status.week}: this week's report is no longer sent"
    if draft is None and view.drafts:
        return f"when something changes: the server has everything of {status.week}"
    week = draft.week if draft is not None else status.week
    if view.backoff is not None and view.backoff.is_active(now):
        failed = f", after {counted(view.backoff.failures, 'failure')}: {view.backoff.reason}" if view.backoff.failures else ""
        return f"{week}, not before {view.backoff.not_before:%Y-%m-%d %H:%M} UTC{failed}"
    return f"{week}, with the next update check"


def lines(status: Status) -> list[tuple[str, str]]:
    view = status.view
    found = [("Status", sentence(status))]
    if view.consent is not None:
        found.append(("Your answer", answer_text(view.consent)))
    found.append(("Next report", next_report(status)))
    if view.sent:
        found.append(("Last report", f"{heading(view.sent[-1])}, {outcome_text(view.sent[-1])}"))
    found += [(f"Not accepted, {draft.week}", draft.rejected) for draft in view.drafts if draft.rejected]
    if view.deletions:
        waiting = ", ".join(f"{week} at {server}" for week, server, _ in view.deletions)
        found.append(("To be deleted", f"{waiting}, with the next update check"))
    if view.forgotten:
        found.append(("Forgotten", f"{', '.join(view.forgotten)}: nothing more is sent for these weeks"))
    if status.settings.site.sources:
        found.append(("Administrator's file", ", ".join(status.settings.site.sources)))
    if others := sorted(set(status.settings.level_servers.values()) - {status.settings.server}):
        found.append(("Other report servers", ", ".join(others)))
    if status.problem:
        found.append(("Problem", status.problem))
    return found


def heading(batch: SentBatch) -> str:
    return f"{batch.at:%Y-%m-%d %H:%M:%S} UTC  {batch.week}  level {batch.level}  {batch.server}"


def outcome_text(batch: SentBatch) -> str:
    receipt = json.loads(batch.receipt) if batch.receipt else {}
    if receipt.get("stored"):
        return "accepted"
    return f"not accepted: {receipt.get('reason') or 'the server did not say why'}" if receipt else receipt_text(batch)


def receipt_text(batch: SentBatch) -> str:
    if batch.state == "sending":
        return "being sent"
    return f"receipt {batch.receipt}" if batch.receipt else "no response; the server may or may not have stored it"


def sent_text(batches: list[SentBatch]) -> str:
    parts = [f"{heading(one)}\n{pretty_json(one.request)}\n{receipt_text(one)}" for one in reversed(batches)]
    return "\n\n".join(parts) or NOTHING_SENT


def copies_text(copies: list[ServerCopy]) -> str:
    parts = []
    for copy in copies:
        head = f"{copy.asked.week} at {copy.asked.server}: {copy.problem or counted(len(copy.reports), 'report')}"
        parts.append("\n".join([head, *(pretty_json(one.report) for one in copy.reports)]))
    return "\n\n".join(parts) or NOTHING_SENT


def ids_text(status: Status) -> str:
    if status.identifier is None:
        found = [NO_IDS]
    else:
        found = [
            f"Identifier in {status.week} at {status.settings.service}: {status.identifier}",
            f"Environment in {status.week}: {status.environment}",
            HOW_IDS_ARE_MADE,
        ]
    if status.view.identifiers:
        found.append("Servers may store reports under these identifiers:")
        found += [f"{one.week}  {one.level}  {one.server}  {one.identifier}" for one in status.view.identifiers]
    return "\n".join(found)


def forgotten_text(done: Forgotten) -> str:
    weeks = ", ".join(sorted({week for _, week in done.weeks}))
    said = (
        f"Deleted on servers: {counted(done.on_servers, 'report')}. "
        f"Deleted on this computer: {counted(done.requests, 'request')}, {counted(done.drafts, 'collected week')}. "
        f"Nothing more is sent for {weeks}. Later weeks are reported only if you have agreed."
    )
    if done.problems:
        said += f" Not deleted yet: {' '.join(done.problems)} Each update check tries again."
    return said
