"""What dialog, panel and indicator draw: one immutable value, made in the background.

Types of the core are named for type checkers alone: importing them would load the whole client on the GUI thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_telemetry.own_data import Forgotten, OwnIds, ServerCopy
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.state import SentBatch
    from napari_telemetry.telemetry import TelemetryOutcome


class Task(Enum):
    """What can be under way, or have failed."""

    SEND = "send"
    ANSWER = "answer"
    QUESTION = "question"
    PREVIEW = "preview"
    SERVER_COPY = "server copy"
    FORGET = "forget"


@dataclass(frozen=True)
class Snapshot:
    """How everything stands.

    ``status`` is None until it has been read; ``problem``: why it can't be, such as an unusable address. ``takes_reports``:
    whether the server is known to take reports, None before the first update check. ``is_sending``: a report of this
    environment is on its way right now, from this process or another. ``busy``: what is in progress here; ``failures``: why the
    last try of a task failed, for people.
    """

    status: ClientStatus | None = None
    problem: str | None = None
    takes_reports: bool | None = None
    outcome: TelemetryOutcome | None = None
    """Of the last try to send a report from here."""
    is_sending: bool = False
    busy: frozenset[Task] = frozenset()
    failures: Mapping[Task, str] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    """A report of this environment by level's name, as formatted JSON."""
    preview: str | None = None
    """What the next check sends, as formatted JSON; None where nothing is."""
    sent: tuple[SentBatch, ...] = ()
    ids: OwnIds | None = None
    copies: tuple[ServerCopy, ...] | None = None
    """What servers hold; None until they were asked."""
    forgotten: Forgotten | None = None
    progress: str = ""
    """What a long task is doing, in words."""

    def is_busy(self, *tasks: Task) -> bool:
        """Tell whether any of these tasks is under way."""
        return bool(self.busy.intersection(tasks))
