"""The publication rule, reimplemented in plain Python without the program's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

Values = tuple[str, ...]
Numbers = dict[str, dict[Values, int]]
OF_PLUGINS = ("plugins-by-version", "plugins-by-python", "plugins-by-napari", "plugins-by-platform")
OF_PEOPLE = ("people-by-level", "people-by-napari", "people-by-python", "people-by-platform", "people-by-system")
OF_FULL = ("commands", "layers", "layers-by-size", "layers-by-ndim", "layers-by-count")


def public(people: Mapping[str, Mapping[Values, int]]) -> Numbers:
    """Return the public numbers: counts of at least ten people, rounded down to a multiple of five.

    A total five above the sum of a table's rows is lowered to that sum, unless another table adds up to more. Versions of a
    plugin are checked separately. No number exceeds its total. The lowest level has no row.
    """
    shown: Numbers = defaultdict(dict)
    for entry, cells in people.items():
        shown[entry] = {values: number // 5 * 5 for values, number in sorted(cells.items()) if number >= 10}
    shown["people-by-level"].pop(("basic",), None)
    for (plugin,), number in shown["plugins"].items():
        tables = [[count for (name, _), count in shown[entry].items() if name == plugin] for entry in OF_PLUGINS]
        of_versions, *others = map(sum, tables)
        shown["plugins"][plugin,] = _lowered(number, others, of_versions)
        for entry in OF_PLUGINS:
            _cap(shown[entry], plugin, shown["plugins"][plugin,])
    if shown["people"]:
        sums = [sum(shown[entry].values()) for entry in OF_PEOPLE]
        sums += [_sum_of_levels(shown), _sum_of_platforms(shown)]
        shown["people"][()] = _lowered(shown["people"][()], sums)
        for entry, cells in shown.items():
            if entry != "people":
                _cap(cells, "", shown["people"][()])
    return dict(shown)


def _cap(cells: dict[Values, int], plugin: str, most: int) -> None:
    for values, number in cells.items():
        if not plugin or values[0] == plugin:
            cells[values] = min(number, most)


def _lowered(number: int, sums: Iterable[int], of_versions: int = 0) -> int:
    known = [of_versions, max([0, *(one for one in sums if one <= number)])]
    while number - 5 in known:
        number -= 5
    return number


def _sum_of_levels(shown: Numbers) -> int:
    """Return basic plus higher levels; a plugin may have more people than the rows of middle and full together."""
    level = {name: people for (name,), people in shown["people-by-level"].items()}
    full = max([level.get("full", 0), *(number for entry in OF_FULL for number in shown[entry].values())])
    plugins = [number for entry in ("plugins", *OF_PLUGINS) for number in shown[entry].values()]
    above = max([level.get("middle", 0) + full, *plugins])
    return max(
        [level.get("basic", 0) + above, *(number for entry in (*OF_PEOPLE, "new-people") for number in shown[entry].values())]
    )


def _sum_of_platforms(shown: Numbers) -> int:
    """Return the sum of each platform's largest count: by processor, by system, or of a plugin."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (platform, _), people in shown["people-by-platform"].items():
        found[platform]["processors"] += people
    for (system,), people in shown["people-by-system"].items():
        kinds = {"Windows": "win32", "macOS": "darwin", "other": ""}
        if platform := next((value for key, value in kinds.items() if system.startswith(key)), "linux"):
            found[platform]["systems"] += people
    for (plugin, platform), people in shown["plugins-by-platform"].items():
        found[platform][f"plugin {plugin}"] = people
    return sum(max(of_platform.values()) for of_platform in found.values())
