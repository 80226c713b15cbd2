"""Worker processes that count and send until killed, and report each step through a pipe before and after it."""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from napari_telemetry.records import Counts
from napari_telemetry.weeks import week_of
from napari_update_hook.errors import StateError

from tests.support.client import WEEK, Clock, Machine

EVENT = "affinder.start"
T = TypeVar("T")


def context() -> Any:
    """Return a multiprocessing context: a preloaded fork server, or spawn on Windows."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.crashing", "napari_telemetry.client", "httpx", "ssl"])
    return found


def add(machine: Machine, week: str, counts: Counts) -> None:
    consent = retry_while_locked(lambda: machine.view).consent
    assert consent is not None
    retry_while_locked(lambda: machine.client.add_counts(consent.number, {week: counts}))


def count_until_killed(folder: str, told: Connection) -> None:
    machine = Machine(Path(folder))
    while True:
        told.send("counting")
        add(machine, WEEK, Counts({EVENT: 1}))
        told.send("counted")


def send_until_killed(folder: str, server: str, start: str, told: Connection) -> None:
    """Count and send while the clock advances, so that weeks end, are sent, close and are purged."""
    clock = Clock(datetime.fromisoformat(start))
    machine = Machine(Path(folder), server, clock=clock)
    while True:
        week = week_of(clock.now)
        told.send((week, clock.now.isoformat()))
        add(machine, week, Counts({EVENT: 1}))
        machine.client.send()
        clock.now += timedelta(days=1, hours=3)


def count_some(folder: str, number: int) -> None:
    machine = Machine(Path(folder))
    for _ in range(number):
        add(machine, WEEK, Counts({EVENT: 2, "napari.window.open": 1}))


def retry_while_locked(work: Callable[[], T]) -> T:
    """Retry while another process locks the file."""
    while True:
        try:
            return work()
        except StateError:
            time.sleep(random.random() / 50)


def kill_after(worker: Any, arguments: tuple[Any, ...], seconds: float) -> list[Any]:
    """Kill ``worker`` ``seconds`` after its first message; return all its messages."""
    receiver, sender = context().Pipe(duplex=False)
    process = context().Process(target=worker, args=(*arguments, sender))
    process.start()
    sender.close()
    told = []
    if receiver.poll(30):
        told.append(receiver.recv())
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while receiver.poll(0):
            told.append(receiver.recv())
    except (EOFError, OSError):
        pass
    return told
