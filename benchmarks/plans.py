"""Compare the plans of `napari-updates plan` with pip: which ones does pip reject, and which updates do they miss?

    python -m benchmarks.plans [--environments N] [--seed N]     (needs NAPARI_INDEX_REPLAY)

A local index serves empty wheels with recorded metadata. In random environments, the plan's command and `pip check` run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

from napari_update_hook.environment import Environment, installed
from napari_update_hook.installers import InstallEnvironment, how_to_install
from napari_update_hook.plan import make_plan, violations_of
from napari_update_hook.table import TablePackage, admits, read_table
from napari_update_hook.versions import is_newer, parsed
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.progress import track
from rich.table import Table

from aggregation.clock import Clock
from tests.end_to_end.test_real_index import replayed
from update_server.index.refresh import build
from update_server.index.snapshot import Index
from update_server.index.table import encoded, make_tables
from update_server.settings import Settings

PYTHON = "{}.{}.{}".format(*sys.version_info[:3])


@dataclass(frozen=True)
class Offer:
    """A release in the local index. ``requires``: Requires-Dist entries that name packages of the index."""

    name: str
    version: str
    requires_python: str
    requires: tuple[str, ...]

    @property
    def stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def metadata(self) -> str:
        lines = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}"]
        lines += [f"Requires-Python: {self.requires_python}"] if self.requires_python else []
        return "\n".join([*lines, *(f"Requires-Dist: {one}" for one in self.requires)]) + "\n"

    def wheel(self) -> bytes:
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr(f"{self.stem}.dist-info/METADATA", self.metadata)
            made.writestr(f"{self.stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            made.writestr(f"{self.stem}.dist-info/RECORD", "")
        return archive.getvalue()


Offers = Mapping[str, Mapping[str, Offer]]
"""Releases by normalized name and version."""


def offers_of(index: Index) -> Offers:
    """Return the releases that have a file that is not yanked; requirements outside the index are dropped."""
    names = {package.key for package in index.facts.packages}
    found: dict[str, dict[str, Offer]] = {}
    for package in index.facts.packages:
        for release in package.releases:
            files = [file for file in release.files if file.yanked is None]
            if not files or parsed(release.version) is None:
                continue
            texts = [text for text in release.requires or () if canonicalize_name(Requirement(text).name) in names]
            kept = tuple(text for text in texts if "extra ==" not in text)
            found.setdefault(package.key, {})[release.version] = Offer(
                package.key, release.version, files[0].requires_python or "", kept
            )
    return found


@contextmanager
def serve_index(offers: Offers) -> Iterator[str]:
    """Serve the releases as a simple index (PEP 691); yield its URL."""
    by_file = {f"{one.stem}-py3-none-any.whl": one for releases in offers.values() for one in releases.values()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            name = parts[-1].removesuffix(".metadata")
            if parts[0] == "files":
                body = by_file[name].metadata.encode() if self.path.endswith(".metadata") else by_file[name].wheel()
            else:
                files: list[dict[str, Any]] = [
                    {"filename": f"{one.stem}-py3-none-any.whl", "url": f"/files/{one.stem}-py3-none-any.whl", "hashes": {},
                     "requires-python": one.requires_python or None, "core-metadata": True}
                    for one in offers.get(name, {}).values()
                ]  # fmt: skip
                body = json.dumps({"meta": {"api-version": "1.1"}, "name": name, "versions": [], "files": files}).encode()
            self.send_response(200)
            kind = "application/octet-stream" if parts[0] == "files" else "application/vnd.pypi.simple.v1+json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()


class Sandbox:
    """A virtual environment with fake packages and real pip."""

    def __init__(self, folder: Path, index_url: str) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")
        self._own = set(self.site.iterdir())
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        own = {"PIP_INDEX_URL": index_url, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_NO_COLOR": "1"}
        self._environ = clean | own | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def fill(self, offers: list[Offer]) -> None:
        for path in set(self.site.iterdir()) - self._own:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for one in offers:
            info = self.site / f"{one.stem}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(one.metadata)
            (info / "INSTALLER").write_text("pip\n")
            names = ("METADATA", "INSTALLER", "RECORD")
            (info / "RECORD").write_text("".join(f"{info.name}/{name},,\n" for name in names))

    def read(self) -> Environment:
        """Return the installed packages except pip and setuptools."""
        found = installed(metadata.distributions(path=[str(self.site)]))
        return Environment(PYTHON, "pypi", {name: one for name, one in found.items() if name not in ("pip", "setuptools")})

    def pip(self, *arguments: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        """Run pip; return the seconds and the result."""
        before = time.perf_counter()
        command = [str(self.python), "-m", "pip", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environ, timeout=600, check=False)
        return time.perf_counter() - before, done


@dataclass
class Tally:
    commands: int = 0
    refused: list[str] = field(default_factory=list)
    planned: int = 0
    by_pip: int = 0
    missed: int = 0
    traded: int = 0
    missed_by_pip: int = 0
    plan_s: list[float] = field(default_factory=list)
    install_s: list[float] = field(default_factory=list)
    pip_s: list[float] = field(default_factory=list)


def sample(dice: random.Random, offers: Offers, packages: Mapping[str, TablePackage]) -> list[Offer]:
    """Return napari and 3 to 12 compatible plugins."""
    plugins = [name for name, package in packages.items() if name != "napari" and package.releases and name in offers]
    while True:
        names = ["napari", *dice.sample(sorted(plugins), dice.randint(3, 12))]
        chosen = []
        for name in names:
            fitting = [
                one for version, one in offers[name].items()
                if (found := parsed(version)) and not found.is_prerelease and admits(one.requires_python, PYTHON)
            ]  # fmt: skip
            if name == "napari":
                fitting = [one for one in fitting if is_newer(one.version, "0.4.16")]
            if fitting:
                chosen.append(dice.choice(fitting))
        distributions = {
            one.name: installed([_FakeDistribution(one)])[one.name] for one in chosen
        }  # fmt: skip
        if len(chosen) > 3 and not violations_of(Environment(PYTHON, "pypi", distributions)):
            return chosen


class _FakeDistribution(metadata.Distribution):
    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def read_text(self, filename: str) -> str | None:
        return {"METADATA": self._offer.metadata, "INSTALLER": "pip"}.get(filename)

    def locate_file(self, path: object) -> Path:
        return Path("site-packages")


def measure(sandbox: Sandbox, packages: Mapping[str, TablePackage], chosen: list[Offer], tally: Tally) -> None:
    sandbox.fill(chosen)
    before = sandbox.read()
    began = time.perf_counter()
    plan = make_plan(packages, before)
    tally.plan_s.append(time.perf_counter() - began)
    names = [one.name for one in chosen]
    seconds, done = sandbox.pip("install", "--dry-run", "--quiet", "--report", "-", "--upgrade", *names)
    tally.pip_s.append(seconds)
    items = json.loads(done.stdout)["install"] if done.returncode == 0 else []
    by_pip: dict[str, str] = {one["metadata"]["name"]: one["metadata"]["version"] for one in items}  # names are normalized
    if plan.updates:
        tally.commands += 1
        place = InstallEnvironment(sandbox.site, sandbox.python)
        updates = [str(canonicalize_name(one.name)) for one in plan.updates]
        (command,) = how_to_install(place, before.distributions, plan.pins, updates, {}).commands
        seconds, done = sandbox.pip(*command.argv[3:])
        tally.install_s.append(seconds)
        _, checked = sandbox.pip("check")
        after = sandbox.read()
        reached = all(after.distributions[canonicalize_name(one.name)].version == one.target for one in plan.updates)
        if done.returncode or checked.returncode or not reached:
            tally.refused.append(f"{command}: {done.stderr.strip()} {checked.stdout.strip()}")
    targets = {str(canonicalize_name(one.name)): one.target for one in plan.updates}
    tally.planned += len(targets)
    pairs = [(targets.get(name, one.version), by_pip.get(name, one.version)) for name, one in before.distributions.items()]
    tally.by_pip += sum(is_newer(by_pip.get(name), one.version) for name, one in before.distributions.items())
    newer_by_pip = sum(is_newer(theirs, mine) for mine, theirs in pairs)
    newer_by_plan = sum(is_newer(mine, theirs) for mine, theirs in pairs)
    tally.traded += newer_by_pip if newer_by_plan else 0  # at the cost of an older version of another package
    tally.missed += 0 if newer_by_plan else newer_by_pip
    tally.missed_by_pip += newer_by_plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not os.environ.get("NAPARI_INDEX_REPLAY"):
        sys.exit("Set NAPARI_INDEX_REPLAY to the path of serve_upstream.py, which replays the recorded index.")
    with replayed() as url:
        index = asyncio.run(build(Settings(upstream=url), None, Clock(), lambda *_: None))
    table = read_table(encoded(make_tables(index.facts, {}, 86400).tables["pypi"]))
    offers, dice, tally = offers_of(index), random.Random(options.seed), Tally()
    packages = {name: package for name, package in table.packages.items() if name in offers}
    with tempfile.TemporaryDirectory() as folder, serve_index(offers) as index_url:
        sandbox = Sandbox(Path(folder) / "environment", index_url)
        for _ in track(range(options.environments), "Environments", console=Console(stderr=True)):
            measure(sandbox, packages, sample(dice, offers, packages), tally)
    shown = Table("what", "result")
    shown.add_row("environments, and those with updates", f"{options.environments}, {tally.commands}")
    shown.add_row("commands that pip accepts and `pip check` confirms", f"{tally.commands - len(tally.refused)}")
    shown.add_row("updates in the plans", str(tally.planned))
    shown.add_row("updates that pip's resolver finds", str(tally.by_pip))
    share = 100 * tally.missed / max(1, tally.by_pip)
    shown.add_row("newer versions that pip finds at no cost and the plan misses", f"{tally.missed} ({share:.1f} %)")
    shown.add_row("newer versions that cost pip older versions of other packages", str(tally.traded))
    shown.add_row("newer versions only in the plan", str(tally.missed_by_pip))
    for name, times in (("plan", tally.plan_s), ("its installation", tally.install_s), ("pip's resolver", tally.pip_s)):
        shown.add_row(f"{name}: median, longest", f"{statistics.median(times):.2f} s, {max(times):.2f} s")
    Console().print(shown)
    for text in tally.refused:
        Console().print(text, soft_wrap=True)
    sys.exit(bool(tally.refused))


if __name__ == "__main__":
    main()
