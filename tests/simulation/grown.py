"""Create a later release with one more field: a patched copy of this code."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ("client_hook/napari-update-hook/src/napari_update_hook", "client_hook/napari-telemetry/src/napari_telemetry")
ENTRY = "people-by-channel"

_CHANGES = {
    "napari_telemetry/wire.py": [
        ("import Meta, Struct, UnsetType, field\n", "import UNSET, Meta, Struct, UnsetType, field\n"),
        ("\nSCHEMA_VERSION = 1\n", "\nSCHEMA_VERSION = 2\n"),
        (
            "\n\nclass MiddleReport(",
            """
    channel: Annotated[
        Literal["pypi", "conda-forge"] | UnsetType,
        Meta(description="where the packages come from", examples=["pypi"], extra={"since": 2}),
    ] = UNSET


class MiddleReport(""",
        ),
    ],
    "napari_telemetry/environment.py": [
        ("    plugins: dict[str, str] = {}\n", '    plugins: dict[str, str] = {}\n    channel: str = "pypi"\n'),
        (
            "        plugins=plugins if level.includes(Level.MIDDLE) else {},\n",
            "        plugins=plugins if level.includes(Level.MIDDLE) else {},\n        channel=environment.channel,\n",
        ),
    ],
    "napari_telemetry/report.py": [
        (
            '        "first_report": first_report,\n',
            '        "first_report": first_report,\n        "channel": info.channel,\n',
        )
    ],
    "aggregation/catalogue.py": [
        (
            '    Entry(\n        "new-people",',
            '    Entry("people-by-channel", "napari", "Where do the packages come from?", Level.BASIC,\n'
            '          "Which channel to test.", (Dimension("channel", "Channel", "channel"),)),\n'
            '    Entry(\n        "new-people",',
        )
    ],
}


def write_later_release(folder: Path) -> Path:
    """Write the release to ``folder``; return the folder to add to PYTHONPATH."""
    for name in (*CLIENT, "update_server", "aggregation", "migrations"):
        shutil.copytree(ROOT / name, folder / Path(name).name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in _CHANGES.items():
        path = folder / name
        text = path.read_text("utf-8")
        for before, after in changes:
            if text.count(before) != 1:
                raise ValueError(f"{name} has changed: {before.strip()!r} occurs {text.count(before)} times")
            text = text.replace(before, after)
        path.write_text(text, "utf-8")
    return folder
