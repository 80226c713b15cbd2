"""Compare the answers of the service and its clients with pip's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from itertools import product
from typing import Any

from packaging.version import Version

from tests.simulation.offers import Offers
from tests.simulation.processes import SimulationError
from tests.simulation.world import PYTHONS

PYTHON = "3.11.4"
OLDER_NAPARIS = ("0.4.19", "0.5.6")


def compare_answers(offers: Offers, ask: Callable[[str], Any], day: date) -> Counter[str]:
    """Compare the answer for each project; return counts by the rule that decided.

    ``ask``: returns the service's JSON for a path. Raises SimulationError.
    """
    decided: Counter[str] = Counter()
    newest_napari = offers.newest("napari", PYTHON, None, day)
    projects = offers.released_by(day)
    for minor, napari in product(PYTHONS, (None, *OLDER_NAPARIS, newest_napari)):
        python = f"{minor}.4"
        query = f"python={python}" + (f"&napari={napari}" if napari else "")
        packages = ask(f"/api/updates?{query}")["packages"]
        if missing := projects - set(packages):
            raise SimulationError(f"the answer to {query} lacks {sorted(missing)}")
        for name in projects:
            newest = offers.newest(name, python, napari, day)
            if packages[name]["latest"] != newest:
                raise SimulationError(f"{query}: pip takes {name} {newest}, but the answer is {packages[name]}")
            decided[offers.decided_by(name, python, napari, day)] += 1
    return decided


def compare_rows(
    offers: Offers, seen: Mapping[str, Any], rows: Mapping[str, tuple[str | None, str]], day: date
) -> tuple[int, int]:
    """Compare a client's rows; return the number of rows and of updates.

    ``seen``: Python and installed packages. Raises SimulationError.
    """
    installed: Mapping[str, str] = seen["installed"]
    updates = 0
    out = offers.released_by(day)  # the service's seed, from 2026, has later projects
    if differ := (set(installed) ^ set(rows)) & out:
        raise SimulationError(f"rows and installed packages differ: {sorted(differ)}")
    compared = set(rows) & out
    for name in compared:
        latest, status = rows[name]
        newest = offers.newest(name, f"{seen['python']}.4", installed.get("napari"), day)
        is_update = newest is not None and Version(newest) > Version(installed[name])
        if latest != newest or (status == "update") is not is_update:
            raise SimulationError(f"pip takes {name} {newest}, but the row says {latest}, {status}")
        updates += is_update
    return len(compared), updates
