"""The publication rule; docs/disclosure.md explains it.

The thresholds are constants, so no setting can publish more by mistake.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from napari_telemetry.wire import TELEMETRY_LEVELS

from aggregation.catalogue import LEVEL, PLATFORM, SYSTEM, VERSION, Entry

LISTED_FROM = 10
ROUNDED_DOWN_TO = 5

RULE = (
    f"A number below {LISTED_FROM} is not listed, zero included; every other is rounded down to a multiple of "
    f"{ROUNDED_DOWN_TO}. A total may be {ROUNDED_DOWN_TO} or {2 * ROUNDED_DOWN_TO} lower still, so that it equals the sum of a "
    "table's rows, and no number is above the total that it belongs to."
)

Values = tuple[str, ...]
Numbers = Mapping[str, Mapping[Values, int]]
"""People by entry id and cell values."""


def public_number(people: int) -> int | None:
    """Return the published number, or None if it is hidden."""
    return people - people % ROUNDED_DOWN_TO if people >= LISTED_FROM else None


def public_total(people: int, sums: Collection[int], of_versions: int = 0) -> int | None:
    """Return the published total, or None if it is hidden. ``sums``: sums of the listed rows, by table.

    If listed rows add up to a total, a reader who assumes one row per person knows that the hidden rows hold at most four
    people. So a total that is five higher is published as the same number: the hidden rows may then stand for nine people.

    ``of_versions``: sum of a plugin's versions; separate, because a plugin with one release has all its people in one row.
    """
    number = public_number(people)
    if number is None:
        return None
    known = {of_versions, max((one for one in sums if one <= number), default=0)}
    while number - ROUNDED_DOWN_TO in known:
        number -= ROUNDED_DOWN_TO
    return number


def published(counts: Numbers, catalogue: Sequence[Entry]) -> dict[str, dict[Values, int]]:
    """Apply the publication rule to exact counts; return the public numbers."""
    shown = {entry.id: _rows(entry, counts[entry.id]) for entry in catalogue}
    # Process the total of all people last: it depends on the plugins' numbers.
    for entry in sorted((entry for entry in catalogue if entry.is_total), key=lambda entry: -entry.fixed):
        sums = sums_of_rows(shown, catalogue, entry)
        if not sums:
            continue
        for values in shown[entry.id]:
            number = public_total(counts[entry.id][values], *sums[values])
            assert number is not None
            shown[entry.id][values] = number
        for part in catalogue:  # no number exceeds its total; every number is part of all people
            if part is not entry and (part.topic == entry.topic or not entry.dimensions):
                whole, depth = shown[entry.id], len(entry.dimensions)
                shown[part.id] = {values: min(people, whole[values[:depth]]) for values, people in shown[part.id].items()}
    return shown


def _rows(entry: Entry, counts: Mapping[Values, int]) -> dict[Values, int]:
    unlisted = {(place, value) for place, dimension in enumerate(entry.dimensions) for value in dimension.unlisted}
    return {
        values: number
        for values, people in counts.items()
        if (number := public_number(people)) is not None and unlisted.isdisjoint(enumerate(values))
    }


def sums_of_rows(shown: Numbers, catalogue: Sequence[Entry], total: Entry) -> dict[Values, tuple[set[int], int]]:
    """Return the sums of listed rows, one per table, and the sum of versions, by plugin; the key ``()`` is all people.

    For all people, two sums across tables are added: by level and by platform.
    """
    sums: dict[Values, tuple[set[int], int]] = defaultdict(lambda: (set(), 0))
    for entry in catalogue:
        if entry.topic == total.topic and not entry.is_total:
            of_table: Counter[Values] = Counter()
            for values, people in shown[entry.id].items():
                of_table[values[: entry.fixed]] += people
            for values, people in of_table.items():
                of_tables, of_versions = sums[values]
                is_of_versions = VERSION in entry.dimensions
                sums[values] = (of_tables, people) if is_of_versions else (of_tables | {people}, of_versions)
    if not total.dimensions and total.only_where is None:  # new people are not a total
        others = [entry for entry in catalogue if entry is not total]
        sums[()][0].update((_sum_over_levels(shown, others), _sum_over_platforms(shown, others)))
    return sums


def _sum_over_levels(shown: Numbers, catalogue: Sequence[Entry]) -> int:
    """Return the sum over levels. A number from higher levels may show more people than the rows of these levels."""
    rows = next((shown[entry.id] for entry in catalogue if entry.dimensions == (LEVEL,)), {})
    people = 0
    for level in reversed(TELEMETRY_LEVELS):
        cells = [number for entry in catalogue if entry.level is level for number in shown[entry.id].values()]
        people = max(people + rows.get((str(level),), 0), max(cells, default=0))
    return people


def _sum_over_platforms(shown: Numbers, catalogue: Sequence[Entry]) -> int:
    """Return the sum over platforms, each from the table that shows the most people."""
    most: Counter[str] = Counter()
    for entry in catalogue:
        sums: Counter[Values] = Counter()
        for values, people in shown[entry.id].items():
            if PLATFORM in entry.dimensions:
                sums[*values[: entry.fixed], values[entry.dimensions.index(PLATFORM)]] += people
            elif entry.dimensions == (SYSTEM,) and (platform := platform_of(values[0])):
                sums[(platform,)] += people
        for (*_, platform), people in sums.items():
            most[platform] = max(most[platform], people)
    return most.total()


def platform_of(system: str) -> str | None:
    """Return the platform of an operating system, or None if it is unknown."""
    first = system.partition(" ")[0]
    return None if first == "other" else {"Windows": "win32", "macOS": "darwin"}.get(first, "linux")
