"""What the intake is measured against: the same service with another writer behind the same validation."""

from __future__ import annotations

from litestar.types import ASGIApp

from aggregation.stores.reports import Outcome, Report, Stored
from update_server.app import create_app
from update_server.intake.writer import ReportWriter


class StoringNothing(ReportWriter):
    """Takes every report and forgets it."""

    async def put(self, report: Report) -> Stored:
        """Say that it was stored."""
        return Stored(Outcome.NEW, report.revision)


class CommittingEach(ReportWriter):
    """Stores each report in a transaction of its own."""

    async def put(self, report: Report) -> Stored:
        """Store it, and answer after the commit."""
        (stored,) = await self._store.put([report])
        return stored


def create_storing_nothing() -> ASGIApp:
    """Return the service, with a writer that stores nothing."""
    return _with(StoringNothing)


def create_committing_each() -> ASGIApp:
    """Return the service, with a commit for each report."""
    return _with(CommittingEach)


def _with(writer: type[ReportWriter]) -> ASGIApp:
    app = create_app()
    services = app.state.services
    services.writer = writer(services.raw)
    return app
