"""What a person can do with their own reports: see how they are named, what a server holds, and have it all deleted.

Works after consent was withdrawn too, because the pseudonyms that a server may still hold are written down when they are sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct

from napari_telemetry.errors import StateError, UpdateHookError
from napari_telemetry.identity import environment_id, identifier
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore
from napari_telemetry.state.drafts import Drafts
from napari_telemetry.state.sendings import SentIdentifier, clear_weeks
from napari_telemetry.transport import Transport, decoded
from napari_telemetry.weeks import week_of
from napari_telemetry.wire import DeletedReports, FoundReports, IdentifierQuery, StoredReport

LONGEST_SENDING = timedelta(seconds=15)
"""What began to send so long ago has ended, or was killed."""


class OwnIds(Struct, frozen=True):
    """This week's pseudonyms. ``sent``: those that a server may hold reports of."""

    service: str
    week: str
    identifier: str | None
    environment: str | None
    sent: list[SentIdentifier]


class ServerCopy(Struct, frozen=True):
    """What a server holds of one pseudonym, or why that is not known."""

    asked: SentIdentifier
    reports: list[StoredReport] = []
    problem: str | None = None


class Forgotten(Struct, frozen=True):
    """What was deleted. ``on_servers``: reports, by server; ``requests`` and ``weeks``: copies and unsent weeks on this
    computer.

    ``stopped``: weeks of which nothing is sent any more, by service; ``problems``: what could not be deleted, and why.
    """

    on_servers: dict[str, int]
    requests: int
    weeks: int
    stopped: dict[str, list[str]]
    problems: list[str]


def own_ids(settings: ClientSettings, store: ClientStore) -> OwnIds:
    """Return this week's pseudonyms, None where there is no consent and so no secret. Raises StateError."""
    week, secrets = week_of(settings.now()), store.consents.secrets()
    return OwnIds(
        service=settings.service,
        week=week,
        identifier=identifier(secrets[0], settings.service, week) if secrets else None,
        environment=environment_id(secrets[1], week) if secrets else None,
        sent=store.sendings.identifiers(),
    )


def server_copy(settings: ClientSettings, store: ClientStore, deadline: float) -> list[ServerCopy]:
    """Ask each server what it holds of each pseudonym, one a request. ``deadline``: seconds for each. Raises StateError."""
    copies = []
    for sent in store.sendings.identifiers():
        try:
            found: FoundReports = _asked(settings, sent, "find", FoundReports, deadline)
            copies.append(ServerCopy(sent, found.reports))
        except UpdateHookError as error:
            copies.append(ServerCopy(sent, problem=str(error)))
    return copies


def stop_sending(settings: ClientSettings, store: ClientStore) -> tuple[set[tuple[str, str]], list[str]]:
    """Mark every (service, week) of the account of which a report was sent or waits: nothing of it leaves any more.

    Returns them, and why some could not be read. Raises StateError.
    """
    weeks = {(one.service, one.week) for one in store.sendings.identifiers()} | {(settings.service, week_of(settings.now()))}
    problems: list[str] = []
    for file in store.environment_files():
        try:
            weeks |= {(draft.service, draft.week) for draft in Drafts(file).all()}
        except StateError as error:
            problems.append(str(error))
    store.sendings.forget(sorted(weeks))
    return weeks, problems


def forget(
    settings: ClientSettings,
    store: ClientStore,
    deadline: float,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Forgotten:
    """Cancel what is unsent, delete what servers hold and what is kept here, and send nothing more for those weeks.

    In this order, so that nothing can leave after the deletion: first the weeks are marked, for all environments of the
    account; then what is on its way is waited for; then servers are asked. A pseudonym that could not be deleted is kept,
    for another try. ``deadline``: seconds for each request. Raises StateError.
    """
    weeks, problems = stop_sending(settings, store)
    progress("Waiting for what is on its way")
    ends = time.monotonic() + LONGEST_SENDING.total_seconds()
    while store.sendings.under_way(settings.now() - LONGEST_SENDING) and time.monotonic() < ends:
        sleep(0.2)
    requests = drafts = 0
    for file in store.environment_files():
        try:
            cleared = clear_weeks(file, weeks)
            file.compact()
            requests, drafts = requests + cleared[0], drafts + cleared[1]
        except StateError as error:
            if str(error) not in problems:
                problems.append(str(error))
    on_servers: dict[str, int] = {}
    for one in store.sendings.identifiers():
        progress(f"Deleting {one.week} at {_server_of(settings, one)}")
        try:
            answer: DeletedReports = _asked(settings, one, "delete", DeletedReports, deadline)
        except UpdateHookError as error:
            problems.append(f"{one.week} at {_server_of(settings, one)}: {error}")
            continue
        on_servers[_server_of(settings, one)] = on_servers.get(_server_of(settings, one), 0) + answer.deleted
        store.sendings.drop_identifier(one)
    return Forgotten(on_servers, requests, drafts, _by_service(weeks), problems)


def _by_service(weeks: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    stopped: dict[str, list[str]] = {}
    for service, week in sorted(weeks):
        stopped.setdefault(service, []).append(week)
    return stopped


def _server_of(settings: ClientSettings, sent: SentIdentifier) -> str:
    """The host that took the report; the first release did not write it down."""
    return sent.server or settings.level_servers[sent.level]


def _asked(settings: ClientSettings, sent: SentIdentifier, verb: str, kind: Any, deadline: float) -> Any:
    server = _server_of(settings, sent)
    with Transport(deadline) as transport:
        answer = transport.post(f"{server}/api/reports/{verb}", msgspec.json.encode(IdentifierQuery(sent.identifier)))
    return decoded(answer.body or b"", kind, server)
