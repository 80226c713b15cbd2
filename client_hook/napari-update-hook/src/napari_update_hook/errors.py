"""Errors that a person can do something about. Each text says what failed, on what, and what to do."""

from __future__ import annotations


class UpdateHookError(Exception):
    """The root of this package's errors."""


class SettingsError(UpdateHookError):
    """An environment variable, an option or a site file that cannot be used."""


class ServerUnreachableError(UpdateHookError):
    """No answer: no network, a wrong address, a timeout."""


class ServerAnswerError(UpdateHookError):
    """An unusable answer. ``status``: that of HTTP; ``retry_after``: the header of that name, as received."""

    def __init__(self, message: str, status: int, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class StateError(UpdateHookError):
    """The folder in which this package keeps its state cannot be written."""


class InstallError(UpdateHookError):
    """The environment's own tool (pip, uv, conda, …) failed."""
