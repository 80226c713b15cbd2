"""Errors that say what failed, where, and what to do."""

from __future__ import annotations


class UpdateHookError(Exception):
    """Base class of this package's errors."""


class SettingsError(UpdateHookError):
    """An invalid environment variable, option or site file."""


class ServerUnreachableError(UpdateHookError):
    """Failure to get a response: no network, a wrong address or a timeout."""


class ServerAnswerError(UpdateHookError):
    """An unusable response from the server.

    ``status``: HTTP status code. ``retry_after``: ``Retry-After`` header as received.
    """

    def __init__(self, message: str, status: int, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class StateError(UpdateHookError):
    """The state folder cannot be written."""


class InstallError(UpdateHookError):
    """pip, uv, conda or another tool failed."""
