"""The client's tests without the service, on every supported Python.

Run ``nox -f client_hook/noxfile.py`` in the repository's root.

Other sessions: real napari (``napari-pyqt6``, ``napari-pyside6``, ``napari-oldest``), and napari's own tests with and without
our packages and upstream/napari's patch (``napari-upstream``). ``TEST_PYTHONS``: paths of Pythons.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from xml.etree import ElementTree

import nox

ROOT = Path(__file__).parents[1]
CLIENT = ["-e", "client_hook/napari-update-hook", "-e", "client_hook/napari-telemetry"]
PYTHONS = os.environ.get("TEST_PYTHONS", "").split() or ["3.10", "3.11", "3.12", "3.13", "3.14"]
CLIENT_PYTHONS = os.environ.get("TEST_CLIENT_PYTHONS", "").split() or PYTHONS
"""Fewer, where the full suite and real napari run, too."""
TEST_LIBRARIES = ["hypothesis", "npe2", "pytest", "pytest-asyncio>=1", "pytest-xdist", "respx", "trustme", "uv"]
LAYERS = ["numpy", "dask[array]", "xarray", "zarr", "tensorstore"]

FOLDERS = ["tests/napari_update_hook", "tests/napari_telemetry"]

NAPARI = {  # the newest with both Qt bindings, and the oldest supported one
    "pyqt6": ("3.12", ["napari[pyqt6]"]),
    "pyside6": ("3.12", ["napari[pyside6]"]),
    "oldest": ("3.10", ["napari[pyqt6]==0.7.*"]),
}
SMOKE = ["test_starting", "test_indicator", "test_panel", "test_installing"]
"""Run with the second Qt and the oldest napari; the first runs all."""
INSIDE_NAPARI = [
    "flaky",
    "ipython",
    "napari-console",
    "napari-plugin-manager",
    "napari-svg",
    "pytest",
    "pytest-qt",
    "pytest-xvfb",
]

UPSTREAM_TESTS = [
    "napari/_tests/test_viewer.py", "napari/_tests/test_multiple_viewers.py", "napari/_tests/test_cli.py",
    "napari/_qt/_tests/test_qt_window.py", "napari/_qt/_tests/test_plugin_widgets.py",
    "napari/_qt/_tests/test_qt_notifications.py", "napari/_qt/_tests/test_qt_viewer.py", "napari/plugins/_tests",
    "napari/_qt/_qapp_model/_tests",
]  # fmt: skip
"""napari's own tests of viewers, windows, notifications, plugins and menus."""

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = bool(os.environ.get("TEST_NOTHING_SKIPPED"))
nox.options.reuse_venv = "yes"


@nox.session(python=CLIENT_PYTHONS, venv_backend="uv|virtualenv")
def tests(session: nox.Session) -> None:
    """Run the client's fast tests; arguments after ``--`` go to pytest."""
    session.chdir(ROOT)
    session.install(*CLIENT, *TEST_LIBRARIES)
    for library in LAYERS:
        session.run_install(
            *_installer(session), library, silent=True, success_codes=[0, 1, 2]
        )  # not every Python has one; its test is skipped
    own = ["--rootdir=.", "-c", "client_hook/pytest.ini", "--confcutdir=tests/napari_telemetry"]
    session.run("python", "-m", "pytest", *own, "-n", "auto", "-m", "not slow", *(session.posargs or ["-q"]), *FOLDERS)


def _inside_napari(session: nox.Session, napari: list[str], paths: list[str]) -> None:
    """Run the tests in a real napari; without a display or Xvfb, Qt draws off-screen. Arguments after ``--`` go to pytest."""
    session.chdir(ROOT)
    session.install(*CLIENT, *napari, *INSIDE_NAPARI)
    named = any(one.startswith("tests/") for one in session.posargs)
    own = ["--rootdir=.", "-c", "tests/inside_napari/pytest.ini", *(session.posargs or ["-q"]), *([] if named else paths)]
    session.run("python", "-m", "pytest", *own)


def _python_of(version: str) -> str:
    return next((path for path in PYTHONS if f"/{version}." in path or path.endswith(version)), version)


for name, (python, packages) in NAPARI.items():
    paths = ["tests/inside_napari"] if name == "pyqt6" else [f"tests/inside_napari/{one}.py" for one in SMOKE]
    run = functools.partial(_inside_napari, napari=packages, paths=paths)
    nox.session(name=f"napari-{name}", python=_python_of(python), venv_backend="uv|virtualenv")(run)


@nox.session(name="napari-upstream", python=_python_of("3.12"), venv_backend="uv|virtualenv")
def napari_upstream(session: nox.Session) -> None:
    """Compare napari's own tests without and with our packages and the patch; fail on new failures."""
    session.chdir(ROOT)
    session.install("napari[pyqt6,testing]", "napari-plugin-manager", "pytest-xvfb")
    script = "import pathlib, napari; print(pathlib.Path(napari.__file__).parents[1])"
    site = Path(str(session.run("python", "-c", script, silent=True)).splitlines()[-1])
    diff = ROOT / "upstream" / "napari" / "napari.patch"
    patch = ("patch", "-p2", "--batch", "--fuzz=0", "-d", str(site), "-i", str(diff))
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(site / "napari" / "pytest.ini"), "--rootdir", str(site)]
    (site / "napari" / "pytest.ini").write_text("[pytest]\n", "utf-8")
    outcomes: list[dict[str, str]] = []
    with_hook = ["napari/utils/_tests/test_update_hook.py"]

    def clean_up() -> None:
        """Restore napari, also after a killed run."""
        session.run("python", "-m", "pip", "uninstall", "-y", "napari-update-hook", "napari-telemetry", success_codes=[0, 1])
        if (site / with_hook[0]).exists():
            session.run(*patch, "-R", external=True)

    clean_up()
    try:
        for paths in (UPSTREAM_TESTS, UPSTREAM_TESTS + with_hook):
            if outcomes:
                session.install(*CLIENT)
                session.run(*patch, external=True)
            report = Path(session.create_tmp(), f"run-{len(outcomes)}.xml").resolve()
            named = session.posargs or [str(site / path) for path in paths]
            session.run("python", *tests, f"--junitxml={report}", *named, success_codes=[0, 1])
            outcomes.append(_outcomes_of(report))
    finally:
        clean_up()
    before, after = outcomes
    worse = sorted(name for name, outcome in after.items() if outcome == "failed" and before.get(name) != "failed")
    session.log(f"without: {_counted(before)}; with our packages and the patch: {_counted(after)}")
    if worse:
        session.error(f"these fail only with our packages: {', '.join(worse)}")


def _outcomes_of(report: Path) -> dict[str, str]:
    """Read a JUnit file: passed, failed or skipped, by test."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return found


def _counted(outcomes: dict[str, str]) -> str:
    kinds = sorted(set(outcomes.values()))
    return ", ".join(f"{list(outcomes.values()).count(kind)} {kind}" for kind in kinds)


def _installer(session: nox.Session) -> list[str]:
    if session.venv_backend == "uv":
        return ["uv", "pip", "install", "--only-binary", ":all:"]
    return ["python", "-m", "pip", "install", "--only-binary", ":all:"]
