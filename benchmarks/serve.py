"""Compare serving the update table with nginx and a bare ASGI application.

Each serves the same bytes on one core, with wrk on another. Needs wrk and nginx (Debian: apt-get install wrk nginx-light).
Goal: 90 % of the rate of the bare application.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import httpx

from benchmarks.loading import GRANIAN, READY, TABLE, create_stores, measured, print_ratios, require_program, run_server

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      root {folder}; try_files /body =404;
      add_header Content-Encoding br; add_header Vary accept-encoding; add_header Cache-Control "public, max-age=300";
    }}
  }}
}}
"""


def nginx(folder: Path, port: int) -> contextlib.AbstractContextManager[int]:
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    folder.chmod(0o755)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-p", str(folder), "-c", str(config)]
    return run_server(command, f"http://127.0.0.1:{port}/")


def make_run(port: int, data: Path) -> contextlib.AbstractContextManager[int]:
    """Run the service on the seed index, without jobs."""
    settings = {"PORT": str(port), "DATA": str(data), "JOBS": "false", "LOG_LEVEL": "error"}
    environment = {f"UPDATE_SERVER_{name}": value for name, value in settings.items()}
    return run_server([sys.executable, "-m", "update_server", "run"], f"http://127.0.0.1:{port}{READY}", **environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="seconds per measurement")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the table shows medians")
    options = parser.parse_args()
    require_program("wrk", "wrk")
    if shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists():
        raise SystemExit("nginx is missing: apt-get install nginx-light")
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in ("nginx", "bare ASGI", "make run")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_stores(folder)
        for turn in range(options.rounds):
            port = 8970 + 10 * turn
            with make_run(port, folder) as pid:
                url = f"http://127.0.0.1:{port}{TABLE}"
                if turn == 0:
                    with httpx.stream("GET", url, headers={"accept-encoding": "br"}) as response:
                        (folder / "body").write_bytes(b"".join(response.iter_raw()))
                        etag = response.headers["etag"]
                figures["make run"].append(measured(url, options.seconds, pid))
            bare = [sys.executable, *GRANIAN, "--port", str(port + 1), "--host", "127.0.0.1", "benchmarks.bare:create_app"]
            address = f"http://127.0.0.1:{port + 1}/"
            with run_server(bare, address, BARE_BODY=str(folder / "body"), BARE_ETAG=etag) as pid:
                figures["bare ASGI"].append(measured(address, options.seconds, pid))
            with nginx(folder, port + 2) as pid:
                figures["nginx"].append(measured(f"http://127.0.0.1:{port + 2}/", options.seconds, pid))
        size = (folder / "body").stat().st_size
    print_ratios(f"the same {size:,} bytes, one core, 32 connections", figures, ("nginx", "bare ASGI"))


if __name__ == "__main__":
    main()
