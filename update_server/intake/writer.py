"""Group commit: a bounded queue, and one durable transaction for reports that arrive together."""

import asyncio
import contextlib

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregation.stores.raw import RawStore
from aggregation.stores.reports import Report, StoreResult
from update_server.problems import Problem

MAX_GROUP_SIZE = 200
RETRY_AFTER_S = 60

log = structlog.get_logger()


class ReportWriter:
    """Writes reports in groups. `put` waits until `run`, a background task, has stored the report."""

    def __init__(self, store: RawStore, max_waiting: int = 2000) -> None:
        self._store = store
        self._queue: asyncio.Queue[tuple[Report, asyncio.Future[StoreResult]]] = asyncio.Queue(max_waiting)

    @property
    def waiting(self) -> int:
        """Number of reports in the queue."""
        return self._queue.qsize()

    async def put(self, report: Report) -> StoreResult:
        """Store a report; return once it is durable. Raises Problem 503 if that fails or the queue is full."""
        future: asyncio.Future[StoreResult] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((report, future))
        except asyncio.QueueFull:
            raise _unavailable() from None
        return await future

    async def run(self) -> None:
        while True:
            group = [await self._queue.get()]
            with contextlib.suppress(asyncio.QueueEmpty):
                while len(group) < MAX_GROUP_SIZE:
                    group.append(self._queue.get_nowait())
            await self._write(group)

    async def _write(self, group: list[tuple[Report, asyncio.Future[StoreResult]]]) -> None:
        try:
            results = await self._store.put([report for report, _ in group])
        except (SQLAlchemyError, OSError) as error:
            log.error("reports_not_stored", reports=len(group), error=type(error).__name__)
            for _, future in group:
                _resolve(future, _unavailable())
        except BaseException:
            for _, future in group:
                _resolve(future, _unavailable())
            raise
        else:
            for (_, future), result in zip(group, results, strict=True):
                _resolve(future, result)


def _resolve(future: asyncio.Future[StoreResult], outcome: StoreResult | Problem) -> None:
    if future.done():  # the client disconnected
        return
    if isinstance(outcome, Problem):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _unavailable() -> Problem:
    return Problem(503, "Reports can't be stored right now. Nothing is lost: send it again later.", retry_after=RETRY_AFTER_S)
