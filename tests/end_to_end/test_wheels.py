"""All distributions, built as wheels and installed into empty environments."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import napari_telemetry
import napari_update_hook
import pytest
import rattler_build
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

import aggregation
from tests.support.processes import clean_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def call(*command: str | Path) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheels, each from its source distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    built = {}
    for name, source in (
        ("hook", ROOT / "client_hook" / "napari-update-hook"),
        ("telemetry", ROOT / "client_hook" / "napari-telemetry"),
        ("service", ROOT),
    ):
        copy = folder / name
        ignored = shutil.ignore_patterns(
            ".*", "data", "dist", "build", "__pycache__", "*.egg-info", "docs", "tests", "benchmarks"
        )
        shutil.copytree(source, copy, ignore=ignored)
        call(sys.executable, "-m", "build", "--outdir", folder / f"{name}-dist", copy)
        (built[name],) = (folder / f"{name}-dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sources(wheels: dict[str, Path]) -> dict[str, Path]:
    return {name: next(wheel.parent.glob("*.tar.gz")) for name, wheel in wheels.items()}


def test_built_distributions_pass_twine_check(wheels: dict[str, Path], sources: dict[str, Path]) -> None:
    told = call(sys.executable, "-m", "twine", "check", "--strict", *wheels.values(), *sources.values())
    assert told.count("PASSED") == 6


def test_version_is_the_same_everywhere(wheels: dict[str, Path], sources: dict[str, Path]) -> None:
    """Compare all versions, which `make version` sets; the changelog needs a section for it or an unreleased section."""
    versions = {parse_wheel_filename(wheel.name)[1] for wheel in wheels.values()}
    versions |= {parse_sdist_filename(source.name)[1] for source in sources.values()}
    assert versions == {Version(aggregation.__version__)}
    assert napari_telemetry.__version__ == napari_update_hook.__version__ == aggregation.__version__
    assert call(sys.executable, "-m", "update_server", "--version").strip() == aggregation.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in changelog or f"## [{aggregation.__version__}]" in changelog


def test_rattler_build_renders_the_recipe_for_conda_forge(sources: dict[str, Path], tmp_path: Path) -> None:
    text = call(sys.executable, ROOT / "deploy" / "conda" / "make_recipe.py", sources["hook"])
    parsed = rattler_build.Stage0Recipe.from_yaml(text, recipe_dir=tmp_path)
    (variant,) = parsed.render()
    package = variant.recipe.package
    assert (str(package.name), str(package.version)) == ("napari-update-hook", aggregation.__version__)
    rendered = variant.recipe.to_dict()
    digest = hashlib.sha256(sources["hook"].read_bytes()).hexdigest()
    assert digest in str(rendered["source"])
    run = [str(one) for one in rendered["requirements"]["run"]]
    needed = [Requirement(one) for one in metadata.requires("napari-update-hook") or []]
    assert {one.split()[0] for one in run} == {"python", *(one.name for one in needed)}
    for one in needed:
        (told,) = [line for line in run if line.split()[0] == one.name]
        assert SpecifierSet(told.partition(" ")[2]) == one.specifier
    assert "python >=3.10" in run


def empty_environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def test_wheels_contain_the_required_files(wheels: dict[str, Path]) -> None:
    hook = set(zipfile.ZipFile(wheels["hook"]).namelist())
    assert {"napari_update_hook/napari.yaml", "napari_update_hook/py.typed", "napari_update_hook/table.py"} <= hook
    telemetry = set(zipfile.ZipFile(wheels["telemetry"]).namelist())
    assert {"napari_telemetry/napari.yaml", "napari_telemetry/py.typed", "napari_telemetry/questions.json"} <= telemetry
    for own, names in (("napari_update_hook", hook), ("napari_telemetry", telemetry)):
        assert {name.split("/")[0].partition("-")[0] for name in names} == {own}
    service = set(zipfile.ZipFile(wheels["service"]).namelist())
    assert {
        "update_server/index/seed.snapshot",
        "update_server/intake/napari_commands.txt",
        "update_server/pages/templates/base.html",
        "update_server/pages/static/style.css",
        "migrations/raw/versions/0001_reports.py",
        "aggregation/catalogue.py",
    } <= service
    assert not [name for name in service if name.startswith(("tests", "napari_update_hook", "napari_telemetry", "client_hook"))]


def test_update_check_installs_into_an_empty_environment(wheels: dict[str, Path], tmp_path: Path) -> None:
    programs = empty_environment(tmp_path / "environment")
    call(programs / "python", "-m", "pip", "install", "-q", wheels["hook"])
    assert call(programs / "napari-updates", "--version").strip() == aggregation.__version__
    assert "undo" in call(programs / "napari-updates", "--help")
    listed = call(programs / "python", "-m", "pip", "list").lower()
    for name in ("httpx", "msgspec", "napari-telemetry", "litestar"):
        assert name not in listed


@pytest.mark.promise("off-by-uninstalling")
def test_uninstalling_leaves_nothing_that_could_run(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Check that only data is left."""
    programs = empty_environment(tmp_path / "environment")
    python = programs / "python"
    before = {path.relative_to(tmp_path) for path in (tmp_path / "environment").rglob("*") if path.suffix in (".pth", "")}
    call(python, "-m", "pip", "install", "-q", wheels["hook"], wheels["telemetry"])
    state = {"NAPARI_UPDATE_STATE": str(tmp_path / "state")}
    with_state = clean_environment(**state)
    consented = [str(programs / "napari-telemetry"), "consent", "set", "full"]
    subprocess.run(consented, env=with_state, check=True, capture_output=True, timeout=60)
    call(python, "-m", "pip", "uninstall", "-q", "-y", "napari-telemetry")
    status = subprocess.run([programs / "napari-updates", "status"], env=with_state, capture_output=True, text=True, check=True)
    told = " ".join(status.stdout.split())
    assert "napari-telemetry is not installed" in told
    assert "telemetry.sqlite3" in told, "the message must name the remaining file"
    call(python, "-m", "pip", "uninstall", "-q", "-y", "napari-update-hook")
    for package in ("napari_update_hook", "napari_telemetry"):
        gone = subprocess.run([python, "-c", f"import {package}"], capture_output=True, text=True, check=False)
        assert "ModuleNotFoundError" in gone.stderr
    assert not list(programs.glob("napari-*"))
    left = [
        path for path in (tmp_path / "environment").rglob("*") if path.name.startswith(("napari_update", "napari_telemetry"))
    ]
    assert left == []
    starting = {path.relative_to(tmp_path) for path in (tmp_path / "environment").rglob("*.pth")}
    assert starting <= before, "nothing may run when Python starts"
    listed = "from importlib.metadata import entry_points; print(*entry_points(group='napari.manifest'))"
    assert call(python, "-c", listed).strip() == ""
    assert {path.suffix for path in (tmp_path / "state").rglob("*") if path.is_file()} <= {".sqlite3", ".json"}


ADDED_PACKAGES_SCRIPT = """
from importlib import metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

def needs(name, extras=frozenset()):
    found, waiting = set(), [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        if (key := canonicalize_name(name)) not in found:
            found.add(key)
            for line in map(Requirement, metadata.requires(name) or ()):
                if line.marker is None or any(line.marker.evaluate({"extra": one}) for one in {"", *extras}):
                    waiting.append((line.name, frozenset(line.extras)))
    return found

print(*sorted(needs("napari-update-hook") - needs("napari", {"pyqt6"})))
"""
"""Prints napari-update-hook and those of its requirements that napari does not have."""


def test_update_check_adds_only_one_package_to_a_napari_environment(napari_python: Path) -> None:
    assert call(napari_python, "-c", ADDED_PACKAGES_SCRIPT).split() == ["napari-update-hook"]


def test_service_installs_into_an_empty_environment_and_runs(wheels: dict[str, Path], tmp_path: Path) -> None:
    programs = empty_environment(tmp_path / "environment")
    call(programs / "python", "-m", "pip", "install", "-q", wheels["hook"], wheels["telemetry"], wheels["service"])
    assert "UPDATE_SERVER_PORT" in call(programs / "update-server", "settings", "--json")
    code = """
import asyncio, pathlib, sys
from migrations import upgrade
from aggregation.settings import Store
from litestar.testing import AsyncTestClient
from update_server.app import create_app
from update_server.settings import Settings
async def main():
    settings = Settings(data=pathlib.Path(sys.argv[1]), jobs=False)
    for store in Store:
        await upgrade(store, settings.aggregation.url(store))
    async with AsyncTestClient(create_app(settings)) as client:
        updates = (await client.get('/api/updates?python=3.11')).json()
        assert (await client.get('/')).status_code == 200
        print(len(updates['packages']))
asyncio.run(main())
"""
    told = call(programs / "python", "-c", code, tmp_path / "data")
    assert int(told.splitlines()[-1]) > 600
