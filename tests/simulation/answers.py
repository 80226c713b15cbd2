"""Are the answers right? What the service says and what people see of updates, against what pip would take."""

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
"""One that every napari of the year fits."""
OLDER_NAPARIS = ("0.4.19", "0.5.6")
"""Some that people may still have."""


def compare_answers(offers: Offers, ask: Callable[[str], Any], day: date) -> Counter[str]:
    """Compare what the service answers about each project, for each Python and some naparis; count by the rule that decided.

    ``ask``: gives the service's JSON for a path. Raises SimulationError.
    """
    decided: Counter[str] = Counter()
    newest_napari = offers.newest("napari", PYTHON, None, day)
    projects = offers.out_on(day)
    for minor, napari in product(PYTHONS, (None, *OLDER_NAPARIS, newest_napari)):
        python = f"{minor}.4"
        query = f"python={python}" + (f"&napari={napari}" if napari else "")
        packages = ask(f"/api/updates?{query}")["packages"]
        if missing := projects - set(packages):
            raise SimulationError(f"the answer to {query} lacks {sorted(missing)}")
        for name in projects:
            newest = offers.newest(name, python, napari, day)
            if packages[name]["latest"] != newest:
                raise SimulationError(f"{query}: of {name} pip takes {newest}, and the answer is {packages[name]}")
            decided[offers.decided_by(name, python, napari, day)] += 1
    return decided


def compare_rows(
    offers: Offers, seen: Mapping[str, Any], rows: Mapping[str, tuple[str | None, str]], day: date
) -> tuple[int, int]:
    """Compare what somebody with packages from PyPI was shown; return how many rows were compared, and how many are updates.

    ``seen``: their Python and what is installed; ``rows``: newest version and status by name. Raises SimulationError.
    """
    installed: Mapping[str, str] = seen["installed"]
    updates = 0
    out = offers.out_on(day)  # the service's seed is of 2026, and knows later ones already
    if differ := (set(installed) ^ set(rows)) & out:
        raise SimulationError(f"{sorted(differ)} are answered for, or not")
    compared = set(rows) & out
    for name in compared:
        latest, status = rows[name]
        newest = offers.newest(name, f"{seen['python']}.4", installed.get("napari"), day)
        is_update = newest is not None and Version(newest) > Version(installed[name])
        if latest != newest or (status == "update") is not is_update:
            raise SimulationError(f"of {name} pip takes {newest}, and it was told: {latest}, {status}")
        updates += is_update
    return len(compared), updates
