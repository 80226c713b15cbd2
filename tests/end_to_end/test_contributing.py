"""CONTRIBUTING.md's steps for adding a public number, carried out on a copy of the source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COPIED = ("aggregation", "update_server", "migrations", "tests", "deploy")
CODE = """
import asyncio, json, sys
from pathlib import Path
from tests.update_server.conftest import running_client

async def look(folder):
    async with running_client(Path(folder)) as client:
        pages = {path: (await client.get(path)).text for path in ("/api/stats", "/privacy")}
        return pages | {"answer": (await client.get(sys.argv[2])).status_code}

print(json.dumps(asyncio.run(look(sys.argv[1]))))
"""


def test_one_catalogue_entry_is_enough_to_add_a_public_number(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "secrets"))
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    entry = textwrap.dedent(page.split("```python\n")[1].split("```")[0])
    catalogue = copy / "aggregation" / "catalogue.py"
    start = "CATALOGUE: tuple[Entry, ...] = (\n"
    before, after = catalogue.read_text("utf-8").split(start)
    catalogue.write_text(before + start + textwrap.indent(entry.rstrip() + ",\n", "    ") + after, "utf-8")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(copy), *sys.path]),
        "UPDATE_SERVER_DATA": str(tmp_path / "data"),
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True).stdout

    question = "Which operating systems is a plugin used on?"
    assert question in json.dumps(json.loads(run("-m", "aggregation", "catalogue", "--questions")))
    run("-m", "aggregation", "catalogue", "--grafana", str(tmp_path / "dashboards"))
    assert question in (tmp_path / "dashboards" / "plugin.json").read_text("utf-8")
    shown = json.loads(run("-c", CODE, str(tmp_path / "service"), "/api/stats/plugins/affinder?by=system").splitlines()[-1])
    assert question in shown["/api/stats"]
    assert question in shown["/privacy"]
    assert shown["answer"] == 200
