"""Errors in addition to those of napari-update-hook. Each message says what to do."""

from __future__ import annotations

from napari_update_hook.errors import ServerAnswerError


class RefusedError(ServerAnswerError):
    """A server refused a request.

    ``kind``: last part of the problem type; ``is_problem``: whether the body follows RFC 9457, which
    the service sends, and proxies do not.
    """

    def __init__(self, message: str, status: int, retry_after: str | None, kind: str, *, is_problem: bool) -> None:
        super().__init__(message, status, retry_after)
        self.kind = kind
        self.is_problem = is_problem
