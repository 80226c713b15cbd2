"""What no report may overtake: an answer, or the wish to be forgotten, from when a person gives it until it is written down."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class _Wish:
    asked: int = 0
    written: int = 0
    failed: int = 0


@dataclass
class Holds:
    """The wishes of this process that hold reports back. Each kind has an order; the last of it counts.

    One that could not be written down holds reports back for as long as this process runs, or until a later one of its kind
    was written, here or elsewhere: whoever said no, and is then told that it could not be kept, has still said no.
    """

    _wishes: dict[object, _Wish] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def ask(self, kind: object) -> int:
        """Hold reports back from now on. Returns the number to give to `written` or `failed`."""
        with self._changed:
            wish = self._wishes.setdefault(kind, _Wish())
            wish.asked += 1
            return wish.asked

    def written(self, kind: object, number: int) -> None:
        """The wish of that number is written down: the state files say now what may be sent."""
        with self._changed:
            self._wishes[kind].written = number
            self._changed.notify_all()

    def failed(self, kind: object, number: int) -> None:
        """The wish of that number could not be written down."""
        with self._changed:
            self._wishes[kind].failed = number
            self._changed.notify_all()

    def given_elsewhere(self, kind: object) -> bool:
        """Another process wrote down a wish of this kind. Tell whether that ends the hold of one that failed here."""
        with self._changed:
            wish = self._wishes.get(kind)
            if wish is None or wish.written == wish.asked or wish.failed < wish.asked:
                return False
            wish.written = wish.asked
            return True

    def are_over(self, within_s: float) -> bool:
        """Tell whether a report may go out, after up to ``within_s`` seconds for what is just being written down."""
        with self._changed:
            self._changed.wait_for(self._are_tried, within_s)
            return all(wish.written == wish.asked for wish in self._wishes.values())

    def are_tried(self, within_s: float) -> bool:
        """Tell whether every wish was written down or has failed, after up to ``within_s`` seconds."""
        with self._changed:
            return self._changed.wait_for(self._are_tried, within_s)

    def _are_tried(self) -> bool:
        return all(max(wish.written, wish.failed) == wish.asked for wish in self._wishes.values())
