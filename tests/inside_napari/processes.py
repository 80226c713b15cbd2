"""Real napari processes, inspected by ``watched/sitecustomize.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import napari
from packaging.version import Version

NAPARI = Version(napari.__version__)
BIN = Path(sys.executable).parent
WATCHED = Path(__file__).parent / "watched"
UPDATES = "1 update"


@dataclass(frozen=True)
class FinishedNapari:
    """Result of a napari process. ``seconds_to_end``: from closing its windows."""

    code: int
    output: str
    ours: list[str]
    windows: int
    indicators: list[str]
    seconds_to_end: float


def run_napari(
    command: list[str | Path], folder: Path, *, wanted: str = "", seconds: float = 8.0, timeout: float = 120.0, **environ: Any
) -> FinishedNapari:
    """Run napari until all indicators contain ``wanted``, or for ``seconds`` with a window; then close it."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    settings = folder / "napari" / "settings.yaml"
    settings.parent.mkdir(exist_ok=True)
    paths = [str(WATCHED), *([environ.pop("path")] if "path" in environ else [])]
    environment = os.environ | {
        "NAPARI_CONFIG": str(settings),
        "PYTHONPATH": os.pathsep.join(paths),
        "WATCH_REPORT": str(report),
        "WATCH_SECONDS": str(seconds),
        "WATCH_WANTED": wanted,
        **{name: str(value) for name, value in environ.items()},
    }
    process = subprocess.Popen(
        [str(part) for part in command],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    ended = time.time()
    said: dict[str, Any] = {"ours": [], "windows": 0, "indicators": []}
    if report.exists():
        said = json.loads(report.read_text("utf-8"))
    closed = report.stat().st_mtime if report.exists() else ended
    return FinishedNapari(process.returncode, output, said["ours"], said["windows"], said["indicators"], ended - closed)


UPSTREAM = Path(__file__).parents[2] / "upstream"


def apply_patch(folder: Path, name: str = "napari") -> None:
    patch = ["patch", "-p2", "--batch", "--fuzz=0", "-i", str(UPSTREAM / name / f"{name}.patch")]
    done = subprocess.run(patch, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
