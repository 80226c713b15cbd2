"""The report of a week, made of public strings alone. Pure: facts, counts and allow-list in, a report out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from napari_telemetry.facts import Facts, is_final
from napari_telemetry.layers import LayerKind
from napari_telemetry.wire import (
    REPORT_TYPES,
    SCHEMA_VERSION,
    AllowList,
    BasicReport,
    Batch,
    ConsentClaim,
    LayerUse,
    Level,
    PluginInstall,
)

OTHER = "other"
DEVELOPMENT = "development"
MOST_PLUGINS, MOST_COMMANDS, MOST_LAYERS = 1000, 5000, 500
"""What the wire admits; of more, those that were used most are named."""


class ReportKey(Struct, frozen=True):
    """What addresses a report, and which state of it this is."""

    week: str
    identifier: str
    environment: str
    revision: int


def build_batch(
    level: Level,
    key: ReportKey,
    facts: Facts,
    allowed: AllowList,
    *,
    first_report: bool,
    commands: Mapping[str, int] | None = None,
    layers: Mapping[LayerKind, int] | None = None,
) -> Batch[BasicReport]:
    """Return what is sent at ``level``, which must not be none: no string in it that ``allowed`` does not have.

    ``commands`` and ``layers``: exact counts; they are rounded down here.
    """
    fields: dict[str, Any] = {
        "week": key.week,
        "identifier": key.identifier,
        "environment": key.environment,
        "revision": key.revision,
        "napari_version": facts.napari_version if facts.napari_version in allowed.napari_versions else DEVELOPMENT,
        "python_version": _listed(facts.python_minor, allowed.python_versions),
        "platform": _listed(facts.platform, allowed.platforms),
        "cpu_architecture": _listed(facts.cpu_architecture, allowed.cpu_architectures),
        "sys_name": _listed(facts.sys_name, allowed.sys_names),
        "first_report": first_report,
    }
    if level.includes(Level.MIDDLE):
        fields["plugins"] = public_plugins(facts.plugins, allowed)
    if level.includes(Level.FULL):
        fields["command_usage"] = public_commands(commands or {}, allowed)
        fields["data_size_info"] = public_layers(layers or {}, allowed)
    return Batch(SCHEMA_VERSION, ConsentClaim(level, SCHEMA_VERSION), REPORT_TYPES[level](**fields))


def public_plugins(plugins: Mapping[str, str], allowed: AllowList) -> list[PluginInstall]:
    """Return the installed plugins that the public index lists, in published final versions, by name."""
    published = allowed.plugins or {}
    listed = [
        PluginInstall(name, version)
        for name, version in sorted(plugins.items())
        if version in published.get(name, ()) and is_final(version)
    ]
    return listed[:MOST_PLUGINS]


def public_commands(commands: Mapping[str, int], allowed: AllowList) -> dict[str, int]:
    """Return how often each command ran, at least, of those that napari or a published plugin declares; by id."""
    declared = {command for ids in (allowed.commands or {}).values() for command in ids}
    used = Counter({command: count for command, count in commands.items() if command in declared and count > 0})
    return {command: at_least(count) for command, count in sorted(used.most_common(MOST_COMMANDS))}


def public_layers(layers: Mapping[LayerKind, int], allowed: AllowList) -> list[LayerUse]:
    """Return how many layers of each kind there were, at least; what is on no list counts as ``other``."""
    summed: Counter[LayerKind] = Counter()
    for kind, count in layers.items():
        named = msgspec.structs.replace(
            kind,
            layer=_listed(kind.layer, allowed.layers or []),
            class_=_listed(kind.class_, allowed.classes or []),
            dtype=_listed(kind.dtype, allowed.dtypes or []),
        )
        summed[named] += count
    chosen = sorted((kind, count) for kind, count in summed.most_common(MOST_LAYERS) if count > 0)
    return [
        LayerUse(kind.layer, kind.size_category, kind.ndim, kind.class_, kind.dtype, at_least(count)) for kind, count in chosen
    ]


def at_least(count: int) -> Any:
    """Round a count (1 or more) down to 1, 10, 100 or 1000."""
    return max(limit for limit in (1, 10, 100, 1000) if limit <= count)


def assumed_allow_list(facts: Facts, listed: frozenset[str]) -> AllowList:
    """Return the list that a server would probably hand out, for an example before anybody agreed.

    The real one is fetched only with consent. ``listed``: normalized names of the packages of the public index.
    """
    return AllowList(
        schema_version=SCHEMA_VERSION,
        napari_versions=[facts.napari_version] if facts.napari_version else [],
        python_versions=[facts.python_minor],
        platforms=[facts.platform],
        cpu_architectures=[facts.cpu_architecture],
        sys_names=[facts.sys_name],
        plugins={name: [version] for name, version in facts.plugins.items() if name in listed},
    )


def _listed(value: str, values: list[str]) -> str:
    return value if value in values else OTHER
