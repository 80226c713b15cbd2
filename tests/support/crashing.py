"""Processes that count and send until they are killed: what they do, and how they are started.

Each tells through a pipe what it is about to do and what it has done, so that whoever kills it knows what must be there.
"""

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

from napari_telemetry.store import Counts
from napari_telemetry.weeks import week_of
from napari_update_hook.errors import StateError

from tests.support.client import WEEK, Clock, Machine

EVENT = "affinder.start"
T = TypeVar("T")


def context() -> Any:
    """Return how to start processes: forked from a helper that has everything imported, where forking exists."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.crashing", "napari_telemetry.client", "httpx", "ssl"])
    return found


def add(machine: Machine, week: str, counts: Counts) -> None:
    """Add counts under the consent in effect, and try again while the file is busy."""
    consent = retried(lambda: machine.view).consent
    assert consent is not None
    retried(lambda: machine.client.add_counts(consent.number, {week: counts}))


def count_for_ever(folder: str, told: Connection) -> None:
    """Add one event after the other."""
    machine = Machine(Path(folder))
    while True:
        told.send("counting")
        add(machine, WEEK, Counts({EVENT: 1}))
        told.send("counted")


def live_for_ever(folder: str, server: str, start: str, told: Connection) -> None:
    """Count, and check for updates with a clock that runs a day with each check: weeks end, are sent, close and go."""
    clock = Clock(datetime.fromisoformat(start))
    machine = Machine(Path(folder), server, clock=clock)
    while True:
        week = week_of(clock.now)
        told.send((week, clock.now.isoformat()))
        add(machine, week, Counts({EVENT: 1}))
        machine.client.send()
        clock.now += timedelta(days=1, hours=3)


def count_some(folder: str, number: int) -> None:
    """Count in many small pieces."""
    machine = Machine(Path(folder))
    for _ in range(number):
        add(machine, WEEK, Counts({EVENT: 2, "napari.window.open": 1}))


def retried(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, once no other process holds the file."""
    while True:
        try:
            return work()
        except StateError:
            time.sleep(random.random() / 50)


def killed_after(worker: Any, arguments: tuple[Any, ...], seconds: float) -> list[Any]:
    """Start ``worker``, kill it so many seconds after it first told something, and return everything that it told."""
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
