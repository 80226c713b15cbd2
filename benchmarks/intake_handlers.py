"""Baselines for the intake: the service with other report writers."""

from __future__ import annotations

from litestar.types import ASGIApp

from aggregation.stores.reports import Outcome, Report, Stored
from update_server.app import create_app
from update_server.intake.writer import ReportWriter


class StoringNothing(ReportWriter):
    async def put(self, report: Report) -> Stored:
        return Stored(Outcome.NEW, report.revision)


class CommittingEach(ReportWriter):
    async def put(self, report: Report) -> Stored:
        (stored,) = await self._store.put([report])
        return stored


def create_storing_nothing() -> ASGIApp:
    return _with(StoringNothing)


def create_committing_each() -> ASGIApp:
    return _with(CommittingEach)


def _with(writer: type[ReportWriter]) -> ASGIApp:
    app = create_app()
    services = app.state.services
    services.writer = writer(services.raw)
    return app
