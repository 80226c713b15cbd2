"""Generate Grafana dashboards of the public numbers from the catalogue."""

from pathlib import Path
from typing import Any

import msgspec

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.publication import RULE

PUBLIC_TABLES = ("cells", "retractions")
"""Tables that the role `grafana` may read. `published_weeks` is not one: it would reveal weeks without a number."""

SOURCE = {"type": "grafana-postgresql-datasource", "uid": "aggregate"}
SCHEMA_VERSION = 39
"""Dashboard schema of Grafana 11; newer versions read it."""
WIDTH, HEIGHT, COLUMNS = 12, 9, 24
MAX_BARS = 20
GAP_MS = 8 * 86400 * 1000
"""Longest gap that a line spans. It is just over a week, so unlisted numbers interrupt the line."""
DAY = "to_date(week, 'IYYY\"-W\"IW')"
"""SQL expression for the Monday of a week."""
NOTE = f"Only people who chose to take part are counted, each once a week: never all users. {RULE}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by file name."""
    overall = [entry for entry in CATALOGUE if not entry.fixed or not entry.by]
    by_plugin = [entry for entry in CATALOGUE if entry.fixed]
    subject = by_plugin[0].dimensions[0]
    choice = {
        "name": subject.name,
        "label": subject.title,
        "type": "query",
        "datasource": SOURCE,
        "query": f"SELECT DISTINCT value_1 FROM cells WHERE entry = '{by_plugin[0].id}' ORDER BY 1",  # noqa: S608 - our own
        "refresh": 2,
        "sort": 1,
        "includeAll": False,
        "multi": False,
    }
    return {
        "napari.json": _dashboard("napari-usage", "Use of napari", [(entry, False) for entry in overall], []),
        "plugin.json": _dashboard("napari-plugin", "Use of a plugin", [(entry, True) for entry in by_plugin], [choice]),
    }


def write(folder: Path) -> list[Path]:
    """Write the dashboards into ``folder``; return the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, dashboard in dashboards().items():
        files.append(folder / name)
        files[-1].write_bytes(msgspec.json.format(msgspec.json.encode(dashboard), indent=2) + b"\n")
    return files


def _dashboard(uid: str, title: str, shown: list[tuple[Entry, bool]], variables: list[dict[str, Any]]) -> dict[str, Any]:
    note = {
        "id": 1,
        "type": "text",
        "title": "",
        "transparent": True,
        "gridPos": {"x": 0, "y": 0, "w": COLUMNS, "h": 2},
        "options": {"mode": "markdown", "content": NOTE},
    }
    panels = [note]
    for number, (entry, for_plugin) in enumerate(shown):
        place = {"x": number * WIDTH % COLUMNS, "y": 2 + number * WIDTH // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
        panels.append(_panel(number + 2, entry, for_plugin) | {"gridPos": place})
    return {
        "uid": uid,
        "title": title,
        "tags": ["napari"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "time": {"from": "now-1y", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def _panel(number: int, entry: Entry, for_plugin: bool) -> dict[str, Any]:
    free = entry.dimensions[entry.fixed :] if for_plugin else entry.dimensions
    is_time_series = len(free) <= 1
    query = _time_series_query(entry, for_plugin) if is_time_series else _last_week_query(entry)
    target = {"refId": "A", "datasource": SOURCE, "rawSql": query, "rawQuery": True}
    defaults = {"min": 0, "unit": "short", "decimals": 0, "custom": {"spanNulls": False, "insertNulls": GAP_MS}}
    line_options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    bar_options = {"orientation": "horizontal", "xField": "what", "legend": {"showLegend": False}}
    return {
        "id": number,
        "title": entry.question,
        "description": f"{NOTE} Level {entry.level}.",
        "datasource": SOURCE,
        "type": "timeseries" if is_time_series else "barchart",
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [target | {"format": "time_series" if is_time_series else "table"}],
        "options": line_options if is_time_series else bar_options,
    }


def _time_series_query(entry: Entry, for_plugin: bool) -> str:
    """Return a time series query. Grafana's macros can't contain a parenthesis, so a subquery names ``day`` first."""
    place = entry.fixed + 1 if for_plugin else 1
    has_lines = len(entry.dimensions) >= place
    metric = f"value_{place}" if has_lines else "'people'"
    where = f" AND value_1 = ${{{entry.dimensions[0].name}:sqlstring}}" if for_plugin else ""
    numbers = f"SELECT {DAY} AS day, {metric} AS metric, people FROM cells WHERE entry = '{entry.id}'{where}"  # noqa: S608
    return (
        f'SELECT day AS "time", metric, people AS value FROM ({numbers}) AS numbers '  # noqa: S608
        "WHERE $__timeFilter(day) ORDER BY 1, 2"
    )


def _last_week_query(entry: Entry) -> str:
    what = " || ' \N{MIDDLE DOT} ' || ".join(f"value_{number}" for number in range(1, len(entry.dimensions) + 1))
    numbers = f"SELECT {DAY} AS day, {what} AS what, people FROM cells WHERE entry = '{entry.id}'"  # noqa: S608 - our own
    last = "SELECT max(day) FROM chosen"
    return (
        f"WITH numbers AS ({numbers}), chosen AS (SELECT * FROM numbers WHERE $__timeFilter(day)) "  # noqa: S608
        f"SELECT what, people FROM chosen WHERE day = ({last}) ORDER BY people DESC, what LIMIT {MAX_BARS}"
    )
