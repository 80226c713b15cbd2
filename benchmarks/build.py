"""How long does it take to make all answers of an index? On the shipped seed, and on ×10 and ×100 made-up projects.

Counts CPU seconds of this process, so that a busy machine does not matter much. To reach: under 0.5 s for the index, growing
linearly.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import msgspec
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table

from update_server.index import seed
from update_server.index.bodies import UpdateBodies
from update_server.index.model import Facts, Package
from update_server.index.pythons import PythonVersion


def multiplied(facts: Facts, times: int) -> Facts:
    """Return facts with each project that many times, under made-up names."""

    def copies() -> Iterator[Package]:
        for number in range(times):
            for package in facts.packages:
                name = package.name if number == 0 else f"{package.name}-copy-{number}"
                yield msgspec.structs.replace(package, name=name, key=canonicalize_name(name))

    return msgspec.structs.replace(facts, packages=tuple(copies()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often; the least is shown")
    options = parser.parse_args()
    facts = seed.read(seed.shipped()).facts
    table = Table(
        "projects", "releases", "classes", "CPU s", "µs a project", "to ×1", title="all answers of an index, identity bodies"
    )
    first = 0.0
    for times in (1, 10, 100):
        made = multiplied(facts, times)
        spent = []
        for _ in range(options.rounds):
            before = time.process_time()
            bodies = UpdateBodies(made)
            spent.append(time.process_time() - before)
        least = min(spent)
        first = first or least
        classes = sum(len(channel.classes.classes) for channel in bodies.channels.values())
        releases = sum(len(package.releases) for package in made.packages)
        row = (
            f"{len(made.packages):,}",
            f"{releases:,}",
            str(classes),
            f"{least:.3f}",
            f"{least / len(made.packages) * 1e6:.0f}",
        )
        table.add_row(*row, f"{least / first:.1f}")
    Console(width=120).print(table)
    bodies = UpdateBodies(facts)
    body = bodies.find("pypi", PythonVersion(11))
    assert body is not None
    body.encode()
    sizes = {name: len(representation.content) for name, representation in body.representations.items()}
    Console().print("bytes of the body for Python 3.11: " + ", ".join(f"{name} {size:,}" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
