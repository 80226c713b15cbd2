"""Errors that say what failed, where, and what to do."""

from __future__ import annotations


class UpdateHookError(Exception):
    """Base class of this package's errors."""


class SettingsError(UpdateHookError):
    """An unusable environment variable, option or site file."""


class ServerUnreachableError(UpdateHookError):
    """No response: no network, a wrong address, a timeout."""


class ServerAnswerError(UpdateHookError):
    """An unusable response. ``status``: of HTTP. ``retry_after``: the header as received."""

    def __init__(self, message: str, status: int, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class StateError(UpdateHookError):
    """The state folder cannot be written."""


class InstallError(UpdateHookError):
    """pip, uv, conda or another tool failed."""
