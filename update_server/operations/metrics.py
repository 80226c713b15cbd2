"""Numbers for the operator, in Prometheus' format, on a port of their own that is not for the public.

They count reports exactly, which nothing public does (design, "The publication rule"); so they are never served on the
site's port, and are off unless a port is set. No label holds anything of a request but its endpoint, its status and its
level.
"""

from collections.abc import Callable, Iterator, Sequence

from napari_telemetry.weeks import start_of
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from aggregation.clock import Clock
from aggregation.standing import WAS_STOPPED, Standing
from aggregation.stores.aggregate import JobCount
from aggregation.stores.aggregate_tables import AggregationRun
from update_server.index.files import TABLES
from update_server.index.store import IndexStore

TABLE_PATHS = frozenset(TABLES.values())


class FileCounts(Collector):
    """Files of the index that were sent. Plain numbers, because each is answered in some microseconds."""

    def __init__(self) -> None:
        self._counts = {"table": {200: 0, 304: 0}, "other": {200: 0, 304: 0}}

    def count(self, path: str, status: int) -> None:
        """Count an answer: 200 or 304."""
        self._counts["table" if path in TABLE_PATHS else "other"][status] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the numbers as they are."""
        labels = ["kind", "status"]
        family = CounterMetricFamily("index_files", "Files of the index that were sent; table: update checks", labels=labels)
        for kind, counts in self._counts.items():
            for status, number in counts.items():
                family.add_metric([kind, str(status)], number)
        yield family


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "requests", "Requests, except files of the index", ["endpoint", "status"], registry=self.registry
        )
        self.reports = Counter(
            "reports", "Reports that came, by what became of them", ["level", "outcome"], registry=self.registry
        )
        self.left_out = Counter(
            "report_entries_left_out", "Plugins and commands on no public list", ["kind"], registry=self.registry
        )
        self.limited = Counter(
            "requests_limited", "Requests refused because their address sent too many", registry=self.registry
        )
        self._queue = self._gauge("report_queue_length", "Reports that wait for the next commit")
        self._index_age = self._gauge("index_age_seconds", "Age of the index that is served")
        self._index_packages = self._gauge("index_packages", "Packages of the index that is served; 0: none")
        self._index_stale = self._gauge("index_packages_stale", "Packages that the last refresh could not read")
        self._refresh_ended = self._gauge("index_last_refresh_timestamp_seconds", "When this process last ended a refresh")
        self._refresh_failed = self._gauge("index_last_refresh_failed", "Whether this process's last refresh failed: 1, else 0")
        self._oldest_raw_week = self._gauge("raw_oldest_week_timestamp_seconds", "Start of the oldest week with raw reports")
        self._overdue = self._gauge("raw_weeks_overdue", "Weeks whose raw reports should have been deleted: must be 0")
        self._due = self._gauge("weeks_due", "Weeks that could be published and are not")
        self._at_risk = self._gauge("weeks_at_risk", "Unpublished weeks whose raw reports go within seven days")
        self._cells_published = self._gauge("last_week_cells_published", "Public numbers of the week that was published last")
        self._cells_hidden = self._gauge("last_week_cells_hidden", "Hidden numbers of that week, of fewer than ten people")
        self.files = FileCounts()
        self.registry.register(self.files)
        self._job_started = self._gauge("job_last_start_timestamp_seconds", "When a job last began", "job")
        self._job_went_well = self._gauge("job_last_success_timestamp_seconds", "When a job last went well", "job")
        self._job_failed = self._gauge("job_last_run_failed", "Whether a job's last run failed: 1, else 0", "job")
        self._job_runs = self._gauge("job_runs_recorded", "Runs of a job in the record, which goes back 90 days", "job")
        self._job_failures = self._gauge("job_failures_recorded", "Runs of a job in the record that failed", "job")

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def show_standing(self, state: Standing, counts: Sequence[JobCount]) -> None:
        """Show how weeks and jobs stand. Weeks that this process can't see are not shown: nothing would look like zero."""
        for gauge, weeks in ((self._overdue, state.overdue), (self._due, state.due), (self._at_risk, state.at_risk)):
            gauge.set(float("nan") if weeks is None else len(weeks))
        began = [start_of(week).timestamp() for week in state.raw_weeks or ()]
        self._oldest_raw_week.set(min(began, default=float("nan")))
        for run in state.jobs:
            self._job_started.labels(run.job).set(run.started_at.timestamp())
            self._job_failed.labels(run.job).set(1 if run.error and run.error != WAS_STOPPED else 0)
        for run in state.good_jobs:
            if run.ended_at is not None:
                self._job_went_well.labels(run.job).set(run.ended_at.timestamp())
        for count in counts:
            self._job_runs.labels(count.job).set(count.runs)
            self._job_failures.labels(count.job).set(count.failures)

    def show_publication(self, run: AggregationRun | None) -> None:
        """Show what the last aggregation published and hid."""
        if run is not None:
            self._cells_published.set(run.cells)
            self._cells_hidden.set(float("nan") if run.hidden is None else run.hidden)

    def watch_index(self, index: IndexStore, clock: Clock) -> None:
        """Show the index as it is when somebody looks."""
        self._index_age.set_function(
            lambda: (clock.now() - index.loaded.index.facts.as_of).total_seconds() if index.loaded else float("nan")
        )
        self._index_packages.set_function(lambda: len(index.loaded.packages) if index.loaded else 0)
        self._index_stale.set_function(lambda: len(index.loaded.index.stale) if index.loaded else float("nan"))
        self._refresh_ended.set_function(
            lambda: index.last_refresh.ended_at.timestamp() if index.last_refresh else float("nan")
        )
        self._refresh_failed.set_function(
            lambda: float(index.last_refresh.error is not None) if index.last_refresh else float("nan")
        )

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Show the length of the queue as it is when somebody looks."""
        self._queue.set_function(length)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve in a thread, and return what ends it. Raises OSError where the port is taken."""
        server, thread = start_http_server(port, host, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(5)

        return stop
