"""What attaching costs napari: once, and on its GUI thread afterwards.

Run in an environment that has napari, with a display or Xvfb: ``make bench-napari``. A server on loopback answers; the question
comes (sooner than in use) and is answered with level full; then a person opens the panel. Each figure is the worst of all runs,
each in a process of its own, side by side with napari's own start and with a napari that nothing is attached to. The event loop
is watched by a timer of 5 ms: its longest delay tells what a person could feel, whoever caused it. How long our own functions
ran on the GUI thread is measured by wrapping them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = 3
WATCHED_S = 16
ASK_AFTER_MS, ANSWER_AFTER_S, PANEL_AFTER_S = 1_000, 9, 12


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="processes of each kind")
    parser.add_argument("--one", choices=["plain", "attached"], help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measured(options.one == "attached")))
        return
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        from pyvirtualdisplay import Display

        Display(size=(1400, 1000)).start()
    plain = [_in_a_process("plain") for _ in range(options.runs)]
    attached = [_in_a_process("attached") for _ in range(options.runs)]

    def worst(runs: list[dict[str, float]], name: str) -> float:
        return max(run[name] for run in runs)

    start = min(run["viewer_ms"] for run in plain + attached)
    rows = [
        ("napari's own start: import and Viewer() (best)", start, ""),
        ("attach, the first time (limit 50 ms)", worst(attached, "attach_ms"), f"{worst(attached, 'attach_ms') / start:.1%}"),
        ("attach, a second viewer", worst(attached, "second_ms"), ""),
        ("attach again", worst(attached, "again_ms"), ""),
        ("longest function of ours on the GUI thread afterwards (limit 5 ms)", worst(attached, "longest_ms"), ""),
        (f"all functions of ours on the GUI thread in {WATCHED_S} s", worst(attached, "total_ms"), ""),
        ("showing the question, once", worst(attached, "question_ms"), ""),
        ("opening the panel, a person's act", worst(attached, "panel_ms"), ""),
        ("drawing the panel anew, the longest", worst(attached, "redraw_ms"), ""),
        ("longest delay of the event loop, nothing attached", worst(plain, "delay_ms"), ""),
        ("longest delay of the event loop, attached", worst(attached, "delay_ms"), ""),
    ]
    print(f"\nWorst of {options.runs} runs each\n")
    for text, value, share in rows:
        print(f"| {text:<68} | {value:>8.1f} ms | {share:>6} |")
    names = sorted({run["longest_name"] for run in attached})
    print(f"\nThe longest function was {', '.join(map(str, names))}.")


def _in_a_process(kind: str) -> dict[str, Any]:
    from tests.inside_napari.made_server import MadeServer

    server = MadeServer()
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")} | {
            "NAPARI_CONFIG": f"{folder}/settings.yaml",
            "NAPARI_UPDATE_STATE": f"{folder}/state",
            "NAPARI_UPDATE_SERVER": server.url,
        }
        command = [sys.executable, "-m", "benchmarks.inside_napari", "--one", kind]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    server.close()
    if not answer.stdout.strip():
        sys.exit(f"{' '.join(command)} ended with {answer.returncode}\n{answer.stderr}")
    measured: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return measured


def _measured(attached: bool) -> dict[str, Any]:
    began = time.perf_counter()
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    started = (time.perf_counter() - began) * 1000
    second = napari.Viewer(show=False)
    found: dict[str, Any] = {"viewer_ms": started}
    last, delays, spent = time.perf_counter(), [0.0], defaultdict[str, list[float]](list)
    watch = QTimer()
    watch.setInterval(5)

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        delays.append((now - last) * 1000 - 5)
        last = now

    watch.timeout.connect(tick)

    def begin() -> None:
        nonlocal last
        if attached:
            _attach_timed(viewer, second, found, spent)
        last = time.perf_counter()
        watch.start()

    def agree() -> None:
        from napari_telemetry.plugin.attachment import attachment

        status = attachment().session.snapshot.status
        assert status is not None
        dialogs: list[Any] = QApplication.topLevelWidgets()
        for dialog in dialogs:
            if dialog.objectName() == "napari-telemetry-question":
                dialog.levels.button(3).click()
                dialog.buttons[0].click()
                return
        sys.exit("the question was not shown")

    def open_panel() -> None:
        nonlocal last
        from napari_telemetry.plugin.attachment import attachment

        delays.append((time.perf_counter() - last) * 1000 - 5)
        found["panel_ms"] = _timed(lambda: attachment().gui().open_panel(viewer))
        last = time.perf_counter()  # what a person waits for is no delay of something else

    def end() -> None:
        watch.stop()
        QApplication.quit()

    QTimer.singleShot(4000, begin)  # napari has settled
    if attached:
        QTimer.singleShot(4000 + ANSWER_AFTER_S * 1000, agree)
        QTimer.singleShot(4000 + PANEL_AFTER_S * 1000, open_panel)
    QTimer.singleShot(4000 + WATCHED_S * 1000, end)
    napari.run()
    found["delay_ms"] = max(delays)
    for key, name in (("question_ms", "Gui._show_question"), ("redraw_ms", "Panel.draw")):
        found[key] = max(spent.pop(name, [0.0]))
    longest = max(((max(times), name) for name, times in spent.items()), default=(0.0, ""))
    found["longest_ms"], found["longest_name"] = longest
    found["total_ms"] = sum(sum(times) for times in spent.values())
    return found


def _attach_timed(viewer: Any, second: Any, found: dict[str, Any], spent: dict[str, list[float]]) -> None:
    begun = time.perf_counter()
    from napari_telemetry import attach

    attach(viewer)
    found["attach_ms"] = (time.perf_counter() - begun) * 1000
    found["again_ms"] = _timed(lambda: attach(viewer))
    _wrap_slots(spent)
    found["second_ms"] = _timed(lambda: attach(second))


def _wrap_slots(spent: dict[str, list[float]]) -> None:
    """Have each function of ours that Qt calls on the GUI thread write down how long it ran."""
    from napari_telemetry.plugin.attachment import attachment
    from napari_telemetry.plugin.qt.gui import Gui
    from napari_telemetry.plugin.qt.indicator import IndicatorButton

    gui = attachment().gui()

    def wrapped(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def run(self: Any, *arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return original(self, *arguments)
            finally:
                spent[f"{kind.__name__}.{name}"].append((time.perf_counter() - begun) * 1000)

        setattr(kind, name, run)

    from napari_telemetry.plugin.qt import gui as guis
    from napari_telemetry.plugin.qt.panel import Panel

    guis.ASK_AFTER_MS = ASK_AFTER_MS
    for kind, name in (
        (Panel, "draw"),
        (Gui, "_show_question"),
        (Gui, "_follow"),
        (Gui, "_follow_preferences"),
        (Gui, "_tell"),
        (Gui, "_ask_when_idle"),
    ):
        wrapped(kind, name)
    wrapped(IndicatorButton, "draw")
    for signal, names in ((gui.changed, ["_follow"]), (gui.told, ["_tell"])):  # slots were bound before they were wrapped
        signal.disconnect()
        for name in names:
            signal.connect(getattr(gui, name))
    from qtpy.QtWidgets import QApplication

    gui.question_ready.disconnect()
    gui.question_ready.connect(gui._show_question)
    for window in QApplication.topLevelWidgets():
        for button in window.findChildren(IndicatorButton):
            gui.changed.connect(button.draw)
    gui._look.timeout.disconnect()
    gui._look.timeout.connect(gui._follow_preferences)


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
