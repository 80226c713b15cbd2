"""The static folder behind Caddy, and the workflow that publishes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.facts import index_of
from tests.support.processes import end, reserved_port
from tests.support.waiting import wait_until
from update_server.index import folder
from update_server.index.table import make_tables

DEPLOY = Path(__file__).parents[2] / "deploy" / "static"


def test_the_workflow_publishes_before_it_reports_a_failed_build() -> None:
    workflow = yaml.safe_load((DEPLOY / "index.yml").read_text("utf-8"))
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    build = next(number for number, step in enumerate(steps) if step.get("id") == "build")
    assert "index build site --previous" in steps[build]["run"]
    assert steps[build]["continue-on-error"] is True
    assert steps[-1] == {"if": "steps.build.outcome == 'failure'", "run": "exit 1"}
    assert [step.get("uses", "").partition("@")[0] for step in steps[build:-1]] == [
        "",
        "",
        "actions/upload-pages-artifact",
        "actions/deploy-pages",
    ]


@pytest.mark.slow
def test_caddy_serves_the_folder(tmp_path: Path) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs Caddy: apt-get install caddy")
    index = index_of()
    folder.write(index, make_tables(index.facts, {}, 86400), tmp_path / "site")
    url = f"http://127.0.0.1:{reserved_port()}"
    environment = os.environ | {
        "SITE": url,
        "INDEX": str(tmp_path / "site"),
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    command = [caddy, "run", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment | {"CADDY_ADMIN": f"127.0.0.1:{reserved_port()}"}, stderr=log, start_new_session=True
        )

    def answers() -> bool:
        try:
            return httpx.get(url).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, (tmp_path / "log").read_text, process)
        for path in ("/api/updates/pypi.json", "/api/plugins", "/api/manifest/affinder", "/shields/affinder"):
            answer = httpx.get(url + path, headers={"accept-encoding": "gzip"})
            assert answer.status_code == 200, path
            assert answer.headers["content-type"] == "application/json", path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["etag"]
            assert answer.content == (tmp_path / "site" / path.strip("/")).read_bytes()
        assert httpx.get(url).headers["content-type"].startswith("text/html")
        assert httpx.get(f"{url}/api/manifest/nope").status_code == 404
    finally:
        end(process)
