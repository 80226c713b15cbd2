"""What dialog, panel and indicator draw: one immutable value, made in the background.

Types of the core are named for type checkers alone: importing them would load the whole client on the GUI thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_telemetry.client import CheckResult
    from napari_telemetry.own_data import Forgotten, OwnIds, ServerCopy
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.state import SentBatch


class Task(Enum):
    """What can be under way, or have failed."""

    CHECK = "check"
    TELL = "tell"
    ANSWER = "answer"
    QUESTION = "question"
    SNOOZE = "snooze"
    PREVIEW = "preview"
    SERVER_COPY = "server copy"
    FORGET = "forget"


@dataclass(frozen=True)
class Snapshot:
    """How everything stands.

    ``status`` is None until it has been read; ``problem``: why it can't be, such as an address that is none. ``result``: of
    the last check, or what is known from before. ``is_sending``: a report of this environment is on its way right now, from
    this process or another. ``notifies``: whether a person wants notifications. ``busy``: what is under way here;
    ``failures``: why the last try of a task failed, for people.
    """

    status: ClientStatus | None = None
    problem: str | None = None
    result: CheckResult | None = None
    is_sending: bool = False
    notifies: bool = True
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
