"""Prometheus metrics for the operator, on a separate port.

They count reports exactly, so they are never served on the site's port, and are off unless a port is set. Labels contain
nothing from a request except its endpoint, status and level.
"""

from collections.abc import Callable, Iterator

from napari_telemetry.weeks import start_of
from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aggregation.clock import Clock
from aggregation.status import WAS_STOPPED, ServiceStatus
from aggregation.stores.aggregate_tables import AggregationRun
from update_server.index.files import TABLES
from update_server.index.store import IndexStore

TABLE_PATHS = frozenset(TABLES.values())
NAN = float("nan")


class Metrics(Collector):
    """The metrics of one process. ``waiting``: returns the number of reports that wait for the next commit."""

    def __init__(self, index: IndexStore, clock: Clock, waiting: Callable[[], int]) -> None:
        self._index = index
        self._clock = clock
        self._waiting = waiting
        self.status: ServiceStatus | None = None
        self.last_publication: AggregationRun | None = None
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests, except for index files", "endpoint", "status")
        self.reports = self._counter("reports", "Received reports by outcome", "level", "outcome")
        self.left_out = self._counter("report_entries_left_out", "Plugins and commands not on a public list", "kind")
        self.limited = self._counter("requests_limited", "Requests refused by a rate limit")
        files = self._counter("index_files", "Index files sent; kind table: update checks", "kind", "status")
        self._files = {(kind, status): files.labels(kind, status) for kind in ("table", "other") for status in (200, 304)}
        self.registry.register(self)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def count_file(self, path: str, status: int) -> None:
        """Count an index file that was sent with status 200 or 304."""
        self._files["table" if path in TABLE_PATHS else "other", status].inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges. Unknown values are NaN, so that they cannot be mistaken for zero."""
        loaded, refresh = self._index.loaded, self._index.last_refresh
        age = (self._clock.now() - loaded.index.facts.as_of).total_seconds() if loaded else NAN
        yield GaugeMetricFamily("report_queue_length", "Reports waiting for the next commit", self._waiting())
        yield GaugeMetricFamily("index_age_seconds", "Age of the index", age)
        yield GaugeMetricFamily("index_packages", "Packages in the index", len(loaded.packages) if loaded else 0)
        stale = len(loaded.index.stale) if loaded else NAN
        yield GaugeMetricFamily("index_packages_stale", "Packages that the last refresh could not read", stale)
        ended = refresh.ended_at.timestamp() if refresh else NAN
        yield GaugeMetricFamily("index_last_refresh_timestamp_seconds", "End of this process's last refresh", ended)
        failed = float(refresh.error is not None) if refresh else NAN
        yield GaugeMetricFamily("index_last_refresh_failed", "Whether this process's last refresh failed: 1, else 0", failed)
        if self.status is not None:
            yield from _status_gauges(self.status)
        run = self.last_publication
        published, hidden = (run.cells, run.hidden) if run else (NAN, NAN)
        yield GaugeMetricFamily("last_week_cells_published", "Public numbers in the last published week", published)
        hidden = NAN if hidden is None else hidden
        yield GaugeMetricFamily("last_week_cells_hidden", "Hidden numbers in that week, below ten people", hidden)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve the metrics in a thread; return a function that stops it. Raises OSError if the port is in use."""
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(5)

        return stop


def _status_gauges(state: ServiceStatus) -> Iterator[GaugeMetricFamily]:
    def number(weeks: list[object] | list[str] | None) -> float:
        return NAN if weeks is None else len(weeks)

    oldest = min((start_of(week).timestamp() for week in state.raw_weeks or ()), default=NAN)
    yield GaugeMetricFamily("raw_oldest_week_timestamp_seconds", "Start of the oldest week with raw reports", oldest)
    yield GaugeMetricFamily("raw_weeks_overdue", "Weeks with expired raw reports: must be 0", number(state.overdue))
    yield GaugeMetricFamily("weeks_due", "Closed weeks that are not published yet", number(state.due))
    at_risk = NAN if state.at_risk is None else len(state.at_risk)
    yield GaugeMetricFamily("weeks_at_risk", "Unpublished weeks whose raw reports expire within seven days", at_risk)
    started = GaugeMetricFamily("job_last_start_timestamp_seconds", "Last start of a job", labels=["job"])
    failed = GaugeMetricFamily("job_last_run_failed", "Whether a job's last run failed: 1, else 0", labels=["job"])
    good = GaugeMetricFamily("job_last_success_timestamp_seconds", "Last success of a job", labels=["job"])
    for run in state.jobs:
        started.add_metric([run.job], run.started_at.timestamp())
        failed.add_metric([run.job], float(bool(run.error) and run.error != WAS_STOPPED))
    for run in state.last_successes:
        if run.ended_at is not None:
            good.add_metric([run.job], run.ended_at.timestamp())
    yield from (started, failed, good)
