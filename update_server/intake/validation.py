"""Validation that needs the clock, the endpoint or the index. The wire structs check the rest. Pure functions."""

import re
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from napari_telemetry.weeks import InvalidWeekError, closes_at, is_open, start_of
from napari_telemetry.wire import (
    KEY_FIELDS,
    SCHEMA_VERSION,
    BasicReport,
    Batch,
    FullReport,
    LayerUse,
    LeftOut,
    Level,
    MiddleReport,
    PluginInstall,
    batch_decoder,
    fields_of,
)
from packaging.utils import canonicalize_name

from aggregation.stores.reports import Report
from update_server.intake import vocabulary
from update_server.intake.allowed import AllowLists
from update_server.problems import Problem

SCHEMA_VERSIONS = tuple(range(1, SCHEMA_VERSION + 1))
"""Accepted schema versions, including old ones so that old clients keep working."""


class AcceptedBatch(Struct, frozen=True):
    """A valid report, and the number of entries that are on no public list."""

    report: Report
    left_out: LeftOut


def accepted(text: bytes, level: Level, allowed: AllowLists, now: datetime) -> AcceptedBatch:
    """Validate a batch. Raises Problem: 400 for invalid JSON, 422 with a pointer to the field for an invalid batch."""
    batch = _decoded(text, level)
    if batch.schema_version not in SCHEMA_VERSIONS or batch.consent.schema_version != batch.schema_version:
        if batch.schema_version > max(SCHEMA_VERSIONS):
            raise Problem(422, "This server does not know this schema version yet.", pointer="/schema_version")
        if batch.schema_version not in SCHEMA_VERSIONS:
            raise Problem(
                422,
                "This schema version is no longer accepted: update your client.",
                pointer="/schema_version",
                kind="schema-retired",
            )
        raise Problem(422, "The consent was given for another schema version.", pointer="/consent/schema_version")
    if batch.consent.level is not level:
        raise Problem(422, f"The consent is not for the level of this endpoint, which is {level}.", pointer="/consent/level")
    if (misplaced := misplaced_field(batch.report, level, batch.schema_version)) is not None:
        name, detail = misplaced
        raise Problem(422, detail, pointer=f"/report/{name}")
    _check_week(batch.report.week, now)
    report, left_out = _apply_allow_lists(batch.report, allowed)
    document = {name: value for name, value in _plain(report).items() if name not in KEY_FIELDS}
    stored = Report(
        report.week, report.identifier, report.environment, report.revision, str(level), batch.schema_version, document
    )
    return AcceptedBatch(stored, left_out)


def _decoded(text: bytes, level: Level) -> Batch[Any]:
    try:
        return batch_decoder(level).decode(text)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `")
        raise Problem(422, f"{detail}.", pointer=json_pointer(place.rstrip("`")) + _field_named_in(detail)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "The body is not valid JSON.") from error


def json_pointer(place: str) -> str:
    """Convert msgspec's ``$.report.plugins[0].name`` to the JSON pointer ``/report/plugins/0/name`` (RFC 6901)."""
    return "".join(f"/{part}" for part in re.findall(r"[^.\[\]$]+", place))


def _field_named_in(detail: str) -> str:
    match = re.search(r"(?:required|unknown) field `([^`]+)`", detail)
    return f"/{match[1]}" if match else ""


def _check_week(week: str, now: datetime) -> None:
    try:
        if is_open(week, now):
            return
        ahead = now < start_of(week)
        detail = f"{week} has not begun yet." if ahead else f"{week} closed for reports on {closes_at(week):%Y-%m-%d}."
    except (InvalidWeekError, OverflowError):
        detail = "There is no such ISO week."
    raise Problem(422, detail, pointer="/report/week")


def _apply_allow_lists(report: BasicReport, allowed: AllowLists) -> tuple[BasicReport, LeftOut]:
    changes: dict[str, Any] = {
        "napari_version": _listed(report.napari_version, allowed.napari_versions, vocabulary.DEVELOPMENT),
        "python_version": _listed(report.python_version, vocabulary.PYTHON_VERSIONS),
        "platform": _listed(report.platform, vocabulary.PLATFORMS),
        "cpu_architecture": _listed(report.cpu_architecture, vocabulary.CPU_ARCHITECTURES),
        "sys_name": _listed(report.sys_name, vocabulary.SYS_NAMES),
    }
    plugins_left_out = commands_left_out = 0
    if isinstance(report, MiddleReport):
        changes["plugins"] = _listed_plugins(report.plugins, allowed)
        plugins_left_out = len(report.plugins) - len(changes["plugins"])
    if isinstance(report, FullReport):
        changes["command_usage"] = {id_: count for id_, count in report.command_usage.items() if id_ in allowed.commands}
        changes["data_size_info"] = [_listed_layer(layer) for layer in report.data_size_info]
        commands_left_out = len(report.command_usage) - len(changes["command_usage"])
    return msgspec.structs.replace(report, **changes), LeftOut(plugins_left_out, commands_left_out)


def _listed(value: str, values: frozenset[str] | tuple[str, ...], instead: str = vocabulary.OTHER) -> str:
    return value if value in values else instead


def _listed_plugins(plugins: list[PluginInstall], allowed: AllowLists) -> list[PluginInstall]:
    named = {canonicalize_name(plugin.name): plugin.version for plugin in plugins}
    return [PluginInstall(key, version) for key, version in named.items() if version in allowed.plugins.get(key, ())]


def _listed_layer(layer: LayerUse) -> LayerUse:
    return msgspec.structs.replace(
        layer,
        layer=_listed(layer.layer, vocabulary.LAYERS),
        class_=_listed(layer.class_, vocabulary.CLASSES),
        dtype=_listed(layer.dtype, vocabulary.DTYPES),
    )


def _plain(report: BasicReport) -> dict[str, Any]:
    plain = msgspec.to_builtins(report)
    assert isinstance(plain, dict)
    return plain


def misplaced_field(report: BasicReport, level: Level, schema_version: int) -> tuple[str, str] | None:
    """Return the name of a field that this schema version forbids or requires, with the error."""
    for described in fields_of(level):
        is_there = getattr(report, described.name) is not UNSET
        if is_there and described.since > schema_version:
            return described.name, f"Reports of schema version {schema_version} have no field {described.name}."
        if not is_there and described.since <= schema_version:
            return described.name, f"Object missing required field `{described.name}`."
    return None
