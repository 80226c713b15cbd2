"""Baselines for the intake benchmark: the service with other report writers."""

from __future__ import annotations

from litestar.types import ASGIApp

from aggregation.stores.reports import Outcome, Report, StoreResult
from update_server.app import create_app
from update_server.intake.writer import ReportWriter


class DiscardingWriter(ReportWriter):
    """A writer that discards reports."""

    async def put(self, report: Report) -> StoreResult:
        return StoreResult(Outcome.NEW, report.revision)


class UnbatchedWriter(ReportWriter):
    """A writer that commits each report separately."""

    async def put(self, report: Report) -> StoreResult:
        (stored,) = await self._store.put([report])
        return stored


def create_discarding_app() -> ASGIApp:
    return _with(DiscardingWriter)


def create_unbatched_app() -> ASGIApp:
    return _with(UnbatchedWriter)


def _with(writer: type[ReportWriter]) -> ASGIApp:
    app = create_app()
    services = app.state.services
    services.writer = writer(services.raw)
    return app
