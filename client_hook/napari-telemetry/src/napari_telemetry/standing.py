"""How everything stands, in one value: what is in force and why, what waits, what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from msgspec import Struct

from napari_telemetry import __version__
from napari_telemetry.asking import Question, due_question, open_question
from napari_telemetry.decision import ConsentRecord, agreed_level
from napari_telemetry.errors import StateBusyError, StateError
from napari_telemetry.pacing import Pause, holds
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore, SentBatch
from napari_telemetry.state.database import StateFile
from napari_telemetry.state.drafts import Draft
from napari_telemetry.switches import telemetry_switch
from napari_telemetry.telemetry import Telemetry
from napari_telemetry.wire import Level

T = TypeVar("T")


class FileStatus(Struct, frozen=True):
    """A state file. ``problem``: what is wrong and what to do, None where nothing is."""

    path: str
    exists: bool
    problem: str | None


class WeekStatus(Struct, frozen=True):
    """A week that is collected. ``counted``: how many different commands and kinds of layers, ``uses``: how often in all;
    ``refused``: why a server did not take it.
    """

    service: str
    week: str
    level: Level
    is_unsent: bool
    counted: int
    uses: int
    refused: str | None


class ClientStatus(Struct, frozen=True):
    """Everything that there is to know about this client in this environment.

    ``level``: the one in force; ``agreed``: the one that a person agreed to, as long as that holds; ``reason``: why it is
    not more; ``switch``: what switches telemetry off whatever was answered, ``switch_name`` in a word or two. ``question``: the
    one that is due now; ``open_question``: the one that waits for an answer, put already or not; none where an answer could not
    be kept. ``pause``: until when nothing is sent. ``sent``: how many requests are kept; ``forgotten``: weeks of which nothing
    is sent any more. ``is_busy``: something could not be read just now; read it again.
    """

    version: str
    server: str
    service: str
    level_servers: dict[str, str]
    level: Level
    agreed: Level
    reason: str | None
    consent: ConsentRecord | None
    switch: str | None
    switch_name: str | None
    site_files: list[str]
    question: Question | None
    open_question: Question | None
    files: list[FileStatus]
    weeks: list[WeekStatus]
    pause: Pause | None
    sent: int
    last_sent: datetime | None
    forgotten: list[str]
    is_busy: bool = False

    @property
    def problems(self) -> list[str]:
        """What is wrong, each with what to do about it."""
        return [file.problem for file in self.files if file.problem]


def client_status(settings: ClientSettings, store: ClientStore, telemetry: Telemetry, *, examine: bool = True) -> ClientStatus:
    """Return how everything stands now. Reads alone, and raises nothing: what can't be read is empty and named in ``files``.

    ``examine``: look at every page of the files, and whether they can
    be written, which takes the lock; else they are looked at only where something in them can't be read.
    """
    now = settings.now()
    read = _Reading()
    sent: list[SentBatch] = read(store.sendings.sent, [])
    drafts: list[Draft] = read(store.drafts.all, [])
    forgotten: set[tuple[str, str]] = read(store.sendings.forgotten, set())
    pause: Pause | None = read(partial(store.answers.pause, settings.service), None)
    decision, record = telemetry.decision_and_record()
    switch = telemetry_switch(settings.environ, settings.site)
    askings: list[datetime] = read(store.consents.askings, [])
    weeks = [
        WeekStatus(draft.service, draft.week, draft.level, draft.is_unsent, *_counted(read, store, draft.week), draft.refused)
        for draft in drafts
    ]
    files = [
        FileStatus(str(file.path), file.exists, read.problem_of(file) if examine or read.has_failed else None)
        for file in store.files
    ]
    can_answer = not any(file.problem for file in files)
    return ClientStatus(
        version=__version__,
        server=settings.server,
        service=settings.service,
        level_servers={level.value: server for level, server in settings.level_servers.items()},
        level=decision.level,
        agreed=agreed_level(record, settings, now),
        reason=decision.reason,
        consent=record,
        switch=switch.reason if switch else None,
        switch_name=switch.name if switch else None,
        site_files=list(settings.site.sources),
        question=due_question(record, askings, settings, now) if can_answer else None,
        open_question=open_question(record, askings, settings, now) if can_answer else None,
        files=files,
        weeks=weeks,
        pause=pause if pause is not None and holds(pause, now) else None,
        sent=len(sent),
        last_sent=sent[-1].at if sent else None,
        forgotten=[week for service, week in sorted(forgotten) if service == settings.service],
        is_busy=read.is_busy or decision.is_busy,
    )


class _Reading:
    """Reads the state files as far as they can be read. ``is_busy``: something could not be read, just now."""

    def __init__(self) -> None:
        self.has_failed = False
        self.is_busy = False

    def __call__(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except StateError as error:
            self.has_failed = True
            self.is_busy |= isinstance(error, StateBusyError)
            return otherwise

    def problem_of(self, file: StateFile) -> str | None:
        """What is wrong with a file, and what to do about it."""
        try:
            file.examine()
        except StateError as error:
            self.is_busy |= isinstance(error, StateBusyError)
            return str(error)
        return None


def _counted(read: _Reading, store: ClientStore, week: str) -> tuple[int, int]:
    """How many kinds, and how often in all."""
    counts = read(partial(store.drafts.counts, week), None)
    found = [*counts.commands.values(), *counts.layers.values()] if counts else []
    return len(found), sum(found)
