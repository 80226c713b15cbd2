"""Error responses as ``application/problem+json`` (RFC 9457). Litestar's own plugin swaps title and detail."""

import http
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotFoundException, ValidationException
from sqlalchemy.exc import SQLAlchemyError

MEDIA_TYPE = "application/problem+json"
UNEXPECTED_ERROR = "Something went wrong on the server. Try again later."

log = structlog.get_logger()


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error: what went wrong, where in the request, and what to do."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    pointer: str | None = None


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """A 4xx or 5xx response.

    ``detail``: a sentence for people. ``pointer``: the JSON pointer or query parameter at fault.
    ``kind``: last part of the problem type, for clients that must recognize it. ``retry_after``: seconds.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        pointer: str | None = None,
        kind: str | None = None,
        retry_after: int | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.body = ProblemBody(
            title=http.HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            type=f"/problems/{kind}" if kind else "about:blank",
            pointer=pointer,
        )
        self.headers: dict[str, str] = {"cache-control": "no-store"}
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)
        if allow is not None:
            self.headers["allow"] = allow

    def encode(self) -> bytes:
        return msgspec.json.encode(self.body)


def bad_query(name: str, detail: str) -> Problem:
    return Problem(400, detail, pointer=name)


def answer_problem(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return an error as JSON. Unexpected exceptions are logged, and their text is not disclosed."""
    problem = as_problem(error)
    return Response(problem.encode(), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers)


def as_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _from_litestar(error)
    if isinstance(error, SQLAlchemyError):
        log.error("store_away", error=type(error).__name__)
        return Problem(503, "The public numbers are unavailable right now. Try again in a minute.", retry_after=60)
    log.error("request_failed", exc_info=error)
    return Problem(500, UNEXPECTED_ERROR)


def _from_litestar(error: HTTPException) -> Problem:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if isinstance(error, NotFoundException):
        return Problem(404, "There is nothing at this address. /api/docs lists all addresses.")
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        return Problem(
            400, f"{first.get('key', 'The request')}: {first.get('message', 'is not valid')}.", pointer=first.get("key")
        )
    if error.status_code >= 500:
        return Problem(error.status_code, UNEXPECTED_ERROR)
    return Problem(error.status_code, f"{error.detail.rstrip('.')}.", allow=headers.get("allow"))
