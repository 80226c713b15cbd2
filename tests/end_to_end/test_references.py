"""Compare the index with pip on a local package index and with conda's solver on a local channel."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pytest
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.installers import InstallEnvironment, how_to_install
from napari_update_hook.plan import make_plan
from napari_update_hook.table import Release, TablePackage, pick
from packaging.version import Version
from rattler import Channel, Gateway, MatchSpec, SourceConfig, solve
from rattler.exceptions import SolverError

from tests.support.facts import package_of
from tests.support.sample_upstream import FakeUpstream, SampleCondaFile, SampleFile, SampleProject
from tests.update_server.index.test_compatibility import CASES
from update_server.index.compatibility import pypi_compatibility, table_rows
from update_server.index.conda import conda_compatibility

PLATFORMS = ("manylinux_2_17_x86_64", "win_amd64", "macosx_11_0_arm64")
MORE_CASES: list[tuple[str, dict[str, Sequence[SampleFile]]]] = [
    ("an excluded patch release", {"1.0": [SampleFile()], "1.1": [SampleFile("!=3.10.1")]}),
    ("a lower bound that names a patch release", {"1.0": [SampleFile()], "1.1": [SampleFile(">=3.10.7")]}),
    ("an upper bound", {"1.0": [SampleFile()], "1.1": [SampleFile("<3.13")]}),
    ("an upper bound that names a patch release", {"1.0": [SampleFile()], "1.1": [SampleFile("<=3.10")]}),
    (
        "wheels for a single platform each",
        {"1.1": [SampleFile(tag="cp310-cp310-win_amd64"), SampleFile(tag="cp311-cp311-macosx_11_0_arm64")]},
    ),
    ("a free-threaded build", {"1.0": [SampleFile()], "1.1": [SampleFile(tag="cp313-cp313t-win_amd64")]}),
    ("a py3xx wheel for a later Python minor version", {"1.0": [SampleFile()], "1.1": [SampleFile(tag="py311-none-any")]}),
]
PYTHONS = ("3.9", "3.10", "3.10.1", "3.10.7", "3.11", "3.13", "3.14")
PROJECTS = [
    SampleProject(f"case-{number}", releases)
    for number, (_, releases) in enumerate([*((name, releases) for name, releases, _ in CASES), *MORE_CASES])
    if releases
]


@pytest.fixture(scope="module")
def index() -> Iterator[str]:
    with FakeUpstream(PROJECTS).served() as url:
        yield f"{url}/simple/"


PIP_SCRIPT = """
import contextlib, io, json, sys
from pip._internal.cli.main import main
answers = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(arguments)
    answers.append(out.getvalue() + err.getvalue())
json.dump(answers, sys.stdout)
"""
"""Runs all commands in one process, because pip starts slowly."""


def available_versions(questions: list[list[str]]) -> list[list[str]]:
    answer = subprocess.run(
        [sys.executable, "-c", PIP_SCRIPT], input=json.dumps(questions), capture_output=True, text=True, check=True, timeout=300
    )
    found = []
    for text in json.loads(answer.stdout):
        match = re.search(r"^Available versions: (.*)$", text, re.MULTILINE)
        assert match or "No matching distribution found" in text, text
        found.append(match[1].split(", ") if match else [])
    return found


def python_version(text: str) -> str:
    """Expand ``3.9`` to ``3.9.0``, as pip does."""
    return text if text.count(".") == 2 else f"{text}.0"


def newest_according_to_pip(index: str, names: Sequence[str], python: str) -> dict[str, str | None]:
    """Return each project's newest version on any platform; a pre-release only if there is no final release."""
    options = ["--index-url", index, "--python-version", python, "--disable-pip-version-check", "--isolated"]
    questions = [
        ["index", "versions", name, *options, "--platform", platform, *pre]
        for name in names
        for pre in ([], ["--pre"])
        for platform in PLATFORMS
    ]
    answers = iter(available_versions(questions))
    newest: dict[str, str | None] = {}
    for name in names:
        final = [version for _ in PLATFORMS for version in next(answers)]
        every = [version for _ in PLATFORMS for version in next(answers)]
        newest[name] = next((str(max(map(Version, versions))) for versions in (final, every) if versions), None)
    return newest


@pytest.mark.parametrize("python", PYTHONS)
def test_answers_match_pip(index: str, python: str) -> None:
    ours = {}
    for package in map(package_of, PROJECTS):
        picked = pick(table_rows(pypi_compatibility(package, 16, frozenset()), NAPARIS), python_version(python), None)
        ours[package.key] = picked.version if picked else None
    assert ours == newest_according_to_pip(index, list(ours), python)


CONDA = [
    SampleProject(f"conda-case-{number}", {}, "1.0", conda=files)
    for number, files in enumerate(
        [
            [SampleCondaFile("1.0", ["python >=3.9"]), SampleCondaFile("1.1", ["python >=3.11"])],
            [SampleCondaFile("1.0", ["python >=3.9,<3.11.0a0"]), SampleCondaFile("0.9", ["python"])],
            [SampleCondaFile("1.0", ["python >=3.10,<3.11.0a0 *_cpython", "python_abi 3.10.* *_cp310"])],
            [
                SampleCondaFile("1.0", ["python >=3.11,<3.12.0a0", "python_abi * *_cp311"]),
                SampleCondaFile("0.5", ["python 3.9.*"]),
            ],
            [SampleCondaFile("0.10", ["python"]), SampleCondaFile("0.9", ["python"])],
            [SampleCondaFile("2021.1_1", ["python"]), SampleCondaFile("2021.1", ["python"])],
            [SampleCondaFile("1.0", ["python >=3.9.7"]), SampleCondaFile("0.1", ["python"])],
            [SampleCondaFile("1.1", ["python"], ["python_abi * *_cp311"]), SampleCondaFile("1.0", ["python"])],
            [SampleCondaFile("1.0rc1", ["python"]), SampleCondaFile("0.9", ["python"])],
            [SampleCondaFile("1.2", ["python", "napari 0.7.*"]), SampleCondaFile("1.1", ["python"], ["napari >=0.6.1"]),
             SampleCondaFile("1.0", ["python", "napari"])],
            [SampleCondaFile("1.1", ["_python_abi3_support 1.*", "cpython >=3.11", "python"]),
             SampleCondaFile("1.0", ["python >=3.8"])],
            [SampleCondaFile("1.1", ["python", "napari 0.5.*|0.8.*"]), SampleCondaFile("1.0", ["python"])],
        ]
    )
]  # fmt: skip
CONDA_PYTHONS = {"3.9.2": 9, "3.10.14": 10, "3.11.9": 11, "3.12.4": 12}
NAPARIS = ("0.5.6", "0.7.1", "0.8.0")


def write_repodata(
    folder: Path,
    pythons: Mapping[str, int],
    naparis: Sequence[str],
    packages: Mapping[str, Sequence[tuple[str, Sequence[str], Sequence[str]]]],
) -> str:
    """Write a conda channel and return its URL. ``packages``: (version, depends, constrains) of each file, by package name."""
    records = {}

    def add(name: str, version: str, build: str, depends: Sequence[str], constrains: Sequence[str] = ()) -> None:
        filename = f"{name}-{version}-{build}.conda"
        records[filename] = {
            "name": name, "version": version, "build": build, "build_number": 0, "subdir": "noarch", "noarch": "generic",
            "depends": list(depends), "constrains": list(constrains), "md5": "0" * 32, "sha256": "0" * 64, "size": 1,
        }  # fmt: skip

    for version, minor in pythons.items():
        kind = "cpython" if minor < 13 else f"cp3{minor}"
        add("python", version, f"h0_0_{kind}", [f"python_abi 3.{minor}.* *_cp3{minor}"])
        add("python_abi", f"3.{minor}", f"0_cp3{minor}", [])
        add("cpython", version, f"py3{minor}hd8ed1ab_0", [f"python 3.{minor}.*", f"python_abi * *_cp3{minor}"])
    add("_python_abi3_support", "1.0", "hd8ed1ab_2", ["cpython", "python-gil"])
    add("python-gil", "1.0", "hd8ed1ab_0", ["cpython"])
    for version in naparis:
        add("napari", version, "pyhd8ed1ab_0", [])
    for name, files in packages.items():
        for number, (version, depends, constrains) in enumerate(files):
            add(name, version, f"build_{number}", depends, constrains)
    for subdir, listed in (("noarch", records), ("linux-64", {})):
        (folder / subdir).mkdir(parents=True)
        repodata = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": listed, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_text(json.dumps(repodata))
    return folder.as_uri()


async def newest_according_to_the_solver(channel: str, name: str, python: str, napari: str | None) -> str | None:
    gateway = Gateway(default_config=SourceConfig(zstd_enabled=False, bz2_enabled=False, sharded_enabled=False))
    specs = [MatchSpec(name), MatchSpec(f"python =={python}")] + ([MatchSpec(f"napari =={napari}")] if napari else [])
    try:
        solution = await solve([Channel(channel)], specs, gateway=gateway, platforms=["linux-64", "noarch"])
    except SolverError:
        return None
    return next(str(record.version) for record in solution if record.name.normalized == name)


@pytest.mark.parametrize("napari", [None, *NAPARIS])
@pytest.mark.parametrize("python", CONDA_PYTHONS)
def test_conda_forge_answers_match_the_solver(tmp_path: Path, python: str, napari: str | None) -> None:
    files = {project.name: [(file.version, file.depends, file.constrains) for file in project.conda] for project in CONDA}
    channel = write_repodata(tmp_path / "channel", CONDA_PYTHONS, NAPARIS, files)
    ours: dict[str, str | None] = {}
    for package in map(package_of, CONDA):
        assert package.conda is not None
        picked = pick(table_rows(conda_compatibility(package.conda, 16, NAPARIS, {}), NAPARIS), python, napari)
        ours[package.key] = picked.version if picked else None

    async def ask() -> dict[str, str | None]:
        return {name: await newest_according_to_the_solver(channel, name, python, napari) for name in ours}

    assert ours == asyncio.run(ask())


def test_conda_resolves_the_install_command_to_the_plan(tmp_path: Path) -> None:
    """Check that conda's solver chooses exactly the planned versions."""
    files: dict[str, list[tuple[str, list[str], list[str]]]] = {
        "affinder": [("0.4.0", ["napari <0.7"], []), ("0.5.0", ["napari <0.7"], [])],
        "micro_sam": [("1.0", [], []), ("1.5", ["napari >=0.6.6"], [])],
    }
    channel = write_repodata(tmp_path / "channel", CONDA_PYTHONS, ["0.6.1", "0.6.6", "0.8.0"], files)
    installed = {
        "napari": Distribution("napari", "0.6.1", (), "conda"),
        "affinder": Distribution("affinder", "0.4.0", ("napari<0.7",), "conda"),
        "micro-sam": Distribution("micro-sam", "1.0", (), "conda"),
    }
    packages = {
        "napari": TablePackage(tuple(map(Release, ("0.8.0", "0.6.6", "0.6.1")))),
        "affinder": TablePackage((Release("0.5.0", requires_napari="<0.7"),)),
        "micro-sam": TablePackage((Release("1.5", requires_napari=">=0.6.6"), Release("1.0")), conda_name="micro_sam"),
    }
    python = next(iter(CONDA_PYTHONS))
    plan = make_plan(packages, Environment(python, "conda-forge", installed))
    place = InstallEnvironment(PurePosixPath("/c"), PurePosixPath("/c/bin/python"), markers=frozenset({"conda"}))
    updates = [one.name for one in plan.updates]
    (command,) = how_to_install(place, installed, plan.pins, updates, {"micro-sam": "micro_sam"}).commands
    specs = [*command.argv[command.argv.index("conda-forge") + 1 :], f"python =={python}"]

    async def solved() -> dict[str, str]:
        gateway = Gateway(default_config=SourceConfig(zstd_enabled=False, bz2_enabled=False, sharded_enabled=False))
        found = await solve([Channel(channel)], list(map(MatchSpec, specs)), gateway=gateway, platforms=["linux-64", "noarch"])
        return {record.name.normalized: str(record.version) for record in found}

    versions = asyncio.run(solved())
    assert {name: versions[name] for name in ("napari", "affinder", "micro_sam")} == {
        "napari": "0.6.6", "affinder": "0.5.0", "micro_sam": "1.5",
    }  # fmt: skip
