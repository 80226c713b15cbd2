"""Everything that can go wrong in a way that a person can do something about.

Each text is for the reader: what failed, on what, what to do. Only the command line prints them.
"""

from __future__ import annotations


class UpdateHookError(Exception):
    """The root of this package's errors."""


class SettingsError(UpdateHookError):
    """An environment variable, an option or a site file that can't be used."""


class ServerUnreachableError(UpdateHookError):
    """No answer: no network, a wrong address, a time-out."""


class ServerAnswerError(UpdateHookError):
    """An answer that is no use.

    ``status``: that of HTTP; ``kind``: the last part of the problem's type; ``retry_after``: that header, as it came;
    ``is_problem``: whether it is an RFC 9457 body, which only the service itself sends.
    """

    def __init__(
        self, message: str, status: int, kind: str = "", retry_after: str | None = None, *, is_problem: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after
        self.is_problem = is_problem


class StateError(UpdateHookError):
    """The files in which this package keeps its state can't be used."""


class StateBusyError(StateError):
    """They can't be used right now, because another process or thread does: to try again is right."""
