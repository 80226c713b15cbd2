"""The client's tests without the service, on every Python that it supports.

Run ``nox -f client_hook/noxfile.py`` in the repository's root.

By name: those in real napari (``napari-pyqt6``, ``napari-pyside6``, ``napari-oldest``).

The Pythons are those on the path, or those that ``TEST_PYTHONS`` names by path. What the client does not depend on is
installed for its tests: libraries of layers, where they exist for that Python, and npe2.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

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
SMOKE = ["test_starting", "test_indicator", "test_panel"]
"""Run with the second Qt and in the oldest napari; all run with the first."""
INSIDE_NAPARI = ["ipython", "napari-console", "napari-plugin-manager", "napari-svg", "pytest", "pytest-qt", "pytest-xvfb"]

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


for name, (python, packages) in NAPARI.items():
    path = next((path for path in PYTHONS if f"/{python}." in path or path.endswith(python)), python)
    paths = ["tests/inside_napari"] if name == "pyqt6" else [f"tests/inside_napari/{one}.py" for one in SMOKE]
    run = functools.partial(_inside_napari, napari=packages, paths=paths)
    nox.session(name=f"napari-{name}", python=path, venv_backend="uv|virtualenv")(run)


def _installer(session: nox.Session) -> list[str]:
    if session.venv_backend == "uv":
        return ["uv", "pip", "install", "--only-binary", ":all:"]
    return ["python", "-m", "pip", "install", "--only-binary", ":all:"]
