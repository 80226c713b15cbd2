"""Compare the update tables of the recorded index with pip and conda's solver, for all projects."""

from __future__ import annotations

import asyncio
import html
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from napari_update_hook.table import UpdateTable, pick, read_table
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.end_to_end.test_real_index import replayed
from tests.end_to_end.test_references import newest_according_to_the_solver, write_repodata
from tests.support.real_index import real_index_folder
from update_server.index.conda import PYTHON_DEPS
from update_server.index.snapshot import Index, read
from update_server.index.table import encoded, make_tables

pytestmark = [pytest.mark.slow, pytest.mark.real_index]

PYTHONS = ("3.8.20", "3.9.2", "3.10.0", "3.10.14", "3.11.4", "3.12.7", "3.13.1", "3.14.0", "3.15.0")


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    with replayed() as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_index_folder(tmp_path_factory)


@pytest.fixture(scope="module")
def index(folder: Path) -> Index:
    found = read(folder / "index.snapshot")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tables(index: Index) -> Mapping[str, UpdateTable]:
    """Return the update tables by channel, as a client reads them."""
    made = make_tables(index.facts, {}, 86400)
    return {channel: read_table(encoded(table)) for channel, table in made.tables.items()}


PIP = """
import json, sys
from pip._internal.index.collector import IndexContent, parse_links
from pip._internal.index.package_finder import CandidateEvaluator, LinkEvaluator, InstallationCandidate
from pip._internal.models.target_python import TargetPython
from pip._internal.index.package_finder import LinkType
from packaging.utils import canonicalize_name
from pip._vendor.packaging.utils import canonicalize_name as canonical

PLATFORMS = (["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64"],
             ["win_amd64"], ["macosx_11_0_arm64", "macosx_14_0_arm64", "macosx_15_0_x86_64"])
questions = json.load(sys.stdin)
answers = {}
for name, page in questions["pages"].items():
    address = f"https://pypi.example/simple/{name}/"
    content = IndexContent(page.encode(), "application/vnd.pypi.simple.v1+json", "utf-8", address)
    links = list(parse_links(content))
    for python in questions["pythons"]:
        version = tuple(map(int, python.split(".")))
        best = []
        for platforms in PLATFORMS:
            target = TargetPython(platforms=platforms, py_version_info=version)
            evaluator = LinkEvaluator(name, canonical(name), frozenset({"binary", "source"}), target, allow_yanked=False)
            evaluated = [(link, *evaluator.evaluate_link(link)) for link in links]
            found = [InstallationCandidate(name, one, link) for link, kind, one in evaluated if kind is LinkType.candidate]
            chosen = CandidateEvaluator.create(name, target_python=target).compute_best_candidate(found).best_candidate
            best += [chosen.version] if chosen else []
        finals = [version for version in best if not version.is_prerelease]
        answers[f"{name} {python}"] = str(max(finals or best)) if best else None
json.dump(answers, sys.stdout)
"""
"""Runs pip's own evaluation of project pages; parses each page once."""


def test_tables_are_at_most_12_kilobytes(tables: Mapping[str, UpdateTable], index: Index) -> None:
    import brotli

    made = make_tables(index.facts, {}, 86400)
    sizes = {channel: len(brotli.compress(encoded(table), quality=11)) for channel, table in made.tables.items()}
    assert sizes["pypi"] <= 12_000, sizes
    assert sizes["conda-forge"] <= 12_000, sizes


def test_answers_match_pip_for_every_project_and_python_version(tables: Mapping[str, UpdateTable], replay: str) -> None:
    names = list(tables["pypi"].packages)
    with httpx.Client(timeout=30) as client:
        pages = {name: client.get(f"{replay}/simple/{name}/").text for name in names}
    asked = json.dumps({"pages": pages, "pythons": PYTHONS})
    answer = subprocess.run([sys.executable, "-c", PIP], input=asked, capture_output=True, text=True, check=True, timeout=600)
    differing = {}
    for question, version in json.loads(answer.stdout).items():
        name, python = question.split()
        picked = pick(tables["pypi"].packages[name].releases, python, None)
        if (picked.version if picked else None) != version:
            differing[question] = (picked and picked.version, version)
    assert differing == {}
    assert len(names) * len(PYTHONS) > 5_900


def wheel_with(name: str, version: str, requires_python: str, requires: list[str]) -> bytes:
    stem, archive = f"{name.replace('-', '_')}-{version}", io.BytesIO()
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    metadata += [f"Requires-Dist: {text}" for text in requires]
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(f"{stem}.dist-info/METADATA", "\n".join(metadata) + "\n")
        made.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{stem}.dist-info/RECORD", "")
    return archive.getvalue()


RUN_PIP = """
import contextlib, io, json, sys
from pip._internal.cli.main import main
answers = []
for arguments in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main(arguments)
    report = json.loads(out.getvalue()) if code == 0 else {"install": []}
    answers.append({one["metadata"]["name"]: one["metadata"]["version"] for one in report["install"]})
json.dump(answers, sys.stdout)
"""


@pytest.mark.parametrize("napari", ["0.4.19", "0.6.1", "0.8.0"])
def test_answers_match_pip_with_a_pinned_napari(
    tables: Mapping[str, UpdateTable], index: Index, tmp_path: Path, napari: str
) -> None:
    """Run pip on fake wheels with the recorded metadata."""
    python, simple = "3.11.4", tmp_path / "simple"

    def offer(name: str, version: str, requires_python: str, requires: list[str]) -> None:
        (simple / name).mkdir(parents=True, exist_ok=True)
        filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        (simple / name / filename).write_bytes(wheel_with(name, version, requires_python, requires))
        link = f'<a href="{filename}" data-requires-python="{html.escape(requires_python)}">{filename}</a>\n'
        with (simple / name / "index.html").open("a") as page:
            page.write(link)

    offer("napari", napari, "", [])
    asked = []
    for package in index.facts.packages:
        of_napari = {
            release.version: [text for text in release.requires or () if canonicalize_name(Requirement(text).name) == "napari"]
            for release in package.releases
        }
        if package.key == "napari" or not any(of_napari.values()):
            continue
        asked.append(package.key)
        for release in package.releases:
            sound = [file for file in release.files if file.yanked is None]
            if sound and any(file.tags is None or "py3-none" in file.tags for file in sound):
                offer(package.key, release.version, sound[0].requires_python or "", of_napari[release.version])
    options = ["--dry-run", "--quiet", "--report", "-", "--ignore-installed", "--index-url", simple.as_uri()]
    options += ["--python-version", python, "--only-binary", ":all:", "--target", str(tmp_path / "target"), "--isolated"]
    commands = [["install", name, f"napari=={napari}", *options] for name in asked]
    run = subprocess.run(
        [sys.executable, "-c", RUN_PIP], input=json.dumps(commands), capture_output=True, text=True, check=True, timeout=900
    )
    answers = dict(zip(asked, json.loads(run.stdout), strict=True))
    assert len(asked) > 100
    differing = {}
    for name in asked:
        picked = pick(tables["pypi"].packages[name].releases, python, napari)
        taken = {canonicalize_name(one): version for one, version in answers[name].items()}
        if (picked.version if picked else None) != taken.get(canonicalize_name(name)):
            differing[name] = (picked and picked.version, taken)
    assert differing == {}


@pytest.mark.parametrize("python", ["3.11.9"])
def test_conda_answers_match_the_solver_for_every_project(
    tables: Mapping[str, UpdateTable], index: Index, tmp_path: Path, python: str
) -> None:
    packages = {one.key: one.conda for one in (*index.facts.packages, *index.facts.parts) if one.conda}
    known = {*PYTHON_DEPS, "python-gil"}
    files = {
        on_conda.name: [
            (
                file.version,
                [text for text in file.depends if text.split()[0] in known],
                [text for text in file.constrains if text.split()[0] in known],
            )
            for file in on_conda.files
            if not file.broken
        ]
        for on_conda in packages.values()
    }
    channel = write_repodata(tmp_path / "channel", {python: int(python.split(".")[1])}, (), files)

    async def ask() -> dict[str, str | None]:
        return {key: await newest_according_to_the_solver(channel, one.name, python, None) for key, one in packages.items()}

    answers = asyncio.run(ask())
    assert len(answers) > 300
    differing = {}
    for key, version in answers.items():
        picked = pick(tables["conda-forge"].packages[key].releases, python, None)
        if (picked.version if picked else None) != version:
            differing[key] = (picked and picked.version, version)
    assert differing == {}
