"""A fake update server. It uses real sockets, because tests check that windows do not block on them.

``tests/end_to_end/test_inside_napari.py`` uses the real service.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ALLOWED: dict[str, Any] = {
    "schema_version": 1,
    "napari_versions": [], "python_versions": ["3.10", "3.11", "3.12", "3.13"], "platforms": ["linux"],
    "cpu_architectures": ["x86_64"], "sys_names": [], "plugins": {"napari-svg": ["0.2.1"]},
    "commands": {"napari": ["napari.viewer.toggle_theme"]}, "layers": ["image", "labels"], "classes": ["ndarray"],
    "dtypes": ["uint8", "float64"],
}  # fmt: skip


class FakeServer:
    """Server on loopback. ``is_down``: answer 503. ``is_todays_index``: serve no table, like today's plugin index.

    ``requests``: (method, path, body).
    """

    def __init__(self) -> None:
        self.packages: dict[str, Any] = {"napari-svg": {"latest": "99.0"}, "napari": {"latest": "0.1.0"}}
        self.is_down = False
        self.is_todays_index = False
        self.takes_reports = True
        self.requests: list[tuple[str, str, bytes]] = []
        self.hold = threading.Event()
        self.hold.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                self._answer(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)

            def _answer(self, body: bytes) -> None:
                server.requests.append((self.command, self.path, body))
                server.hold.wait(20)
                status, value = server.answer(self.path, self.command)
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, path: str, method: str) -> tuple[int, Any]:
        table = {"schema_version": 2, "channel": "pypi", "index_version": "2026-11-18T08:00:00Z", "check_again_s": 86400,
                 "takes_reports": self.takes_reports}  # fmt: skip
        if self.is_down:
            return 503, {}
        if self.is_todays_index:
            summaries = [{"name": name, "version": told["latest"]} for name, told in self.packages.items()]
            return (200, summaries) if path.startswith("/api/extended_summary") else (404, {})
        if path.startswith("/api/telemetry/allowed"):
            return 200, ALLOWED
        if path.startswith("/api/reports/find"):
            return 200, {"reports": []}
        if path.startswith("/api/reports/delete"):
            return 200, {"deleted": 1}
        if method == "POST":
            receipt = {"stored": True, "revision": 1, "reason": None, "left_out": {"plugins": 0, "commands": 0}}
            return 200, {"receipt": receipt}
        return 200, {**table, "packages": {name: self._rows(told) for name, told in self.packages.items()}}

    def _rows(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return a package's rows. ``newest`` may require another Python version; ``latest`` requires none."""
        too_new = {"version": told.get("newest"), "requires_python": told.get("newest_requires_python", "")}
        others: dict[str, Any] = {name: told[name] for name in ("yanked", "vulnerabilities") if name in told}
        return others | {"releases": [*([too_new] if "newest" in told else []), {"version": told["latest"]}]}

    def close(self) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()


def silent_server() -> tuple[socket.socket, str]:
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"
