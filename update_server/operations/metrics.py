"""Numbers for the operator, in Prometheus' format, on a port of their own that is not for the public.

They count reports exactly, which nothing public does (design, "The publication rule"); so they are never served on the
site's port, and are off unless a port is set. No label holds anything of a request but its endpoint, its status and its
level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests, but update checks", ["endpoint", "status"], registry=self.registry)
        self.reports = Counter(
            "reports", "Reports that came, by what became of them: new, replaced, repeated, not_taken", ["level", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.left_out = Counter(
            "report_entries_left_out", "Plugins and commands on no public list", ["kind"], registry=self.registry
        )
        self.limited = Counter(
            "requests_limited", "Requests refused because their address sent too many", registry=self.registry
        )
        self._queue = Gauge("report_queue_length", "Reports that wait for the next commit", registry=self.registry)

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


def outcome_of(stored: Any) -> str:
    """Return what became of a report, as the counter calls it."""
    if not stored.stored:
        return "not_taken"
    return {None: "repeated", True: "new", False: "replaced"}[stored.is_new]
