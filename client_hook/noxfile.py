"""The client's tests without the service, on every Python that it supports.

Run ``nox -f client_hook/noxfile.py`` in the repository's root.

By name: those in real napari (``napari-pyqt6``, ``napari-pyside6``, ``napari-oldest``), and some of napari's own, without our
packages and with them and the patch of upstream/napari (``napari-upstream``).

The Pythons are those on the path, or those that ``TEST_PYTHONS`` names by path. What the client does not depend on is
installed for its tests: libraries of layers, where they exist for that Python, and npe2.
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
"""A run that also has the suite and real napari tests the client on fewer."""
TEST_LIBRARIES = ["hypothesis", "npe2", "pytest", "pytest-asyncio>=1", "pytest-xdist", "respx", "trustme", "uv"]
LAYERS = ["numpy", "dask[array]", "xarray", "zarr", "tensorstore"]

FOLDERS = ["tests/napari_update_hook", "tests/napari_telemetry"]

NAPARI = {  # Python and what is installed: the newest with both bindings of Qt, and the oldest that is supported
    "pyqt6": ("3.12", ["napari[pyqt6]"]),
    "pyside6": ("3.12", ["napari[pyside6]"]),
    "oldest": ("3.10", ["napari[pyqt6]==0.7.*"]),
}
SMOKE = ["test_starting", "test_indicator", "test_panel", "test_installing"]
"""Run with the second Qt and in the oldest napari; all run with the first."""
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
"""napari's own tests of what we touch: viewers, windows, notifications, plugins, menus."""

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = bool(os.environ.get("TEST_NOTHING_SKIPPED"))
nox.options.reuse_venv = "yes"


@nox.session(python=CLIENT_PYTHONS, venv_backend="uv|virtualenv")
def tests(session: nox.Session) -> None:
    """Run the client's tests, but for the slow ones; arguments after ``--`` go to pytest."""
    session.chdir(ROOT)
    session.install(*CLIENT, *TEST_LIBRARIES)
    for library in LAYERS:
        session.run_install(
            *_installer(session), library, silent=True, success_codes=[0, 1, 2]
        )  # there may be none for this Python: its test is skipped
    own = ["--rootdir=.", "-c", "client_hook/pytest.ini", "--confcutdir=tests/napari_telemetry"]
    session.run("python", "-m", "pytest", *own, "-n", "auto", "-m", "not slow", *(session.posargs or ["-q"]), *FOLDERS)


def _inside_napari(session: nox.Session, napari: list[str], paths: list[str]) -> None:
    """Run the tests in a real napari; arguments after ``--`` go to pytest. Without a display or Xvfb, Qt draws into memory."""
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
    """Run some of napari's own tests without our packages, then with them and the patch, and fail on a test that then fails."""
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

    def take_away() -> None:
        """Leave napari as it was, also after a run that was killed."""
        session.run("python", "-m", "pip", "uninstall", "-y", "napari-update-hook", "napari-telemetry", success_codes=[0, 1])
        if (site / with_hook[0]).exists():
            session.run(*patch, "-R", external=True)

    take_away()
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
        take_away()
    before, after = outcomes
    worse = sorted(name for name, outcome in after.items() if outcome == "failed" and before.get(name) != "failed")
    session.log(f"without: {_counted(before)}; with our packages and the patch: {_counted(after)}")
    if worse:
        session.error(f"these fail only with our packages: {', '.join(worse)}")


def _outcomes_of(report: Path) -> dict[str, str]:
    """Read a JUnit file that pytest wrote: by test, passed, failed or skipped."""
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
