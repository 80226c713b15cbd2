"""Build a weekly report that contains only public strings. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from napari_update_hook.versions import is_newer
from packaging.utils import canonicalize_name

from napari_telemetry.environment import EnvironmentInfo, is_final
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
MAX_PLUGINS, MAX_COMMANDS, MAX_LAYERS = 1000, 5000, 500
"""Limits of the wire format."""


class ReportKey(Struct, frozen=True):
    """The fields that address a report."""

    """The fields that address a report."""

    week: str
    identifier: str
    environment: str
    revision: int


def build_batch(
    level: Level,
    key: ReportKey,
    info: EnvironmentInfo,
    allowed: AllowList,
    listed: frozenset[str],
    *,
    first_report: bool,
    commands: Mapping[str, int] | None = None,
    layers: Mapping[LayerKind, int] | None = None,
) -> Batch[BasicReport]:
    """Build a batch that contains only strings in ``allowed``. ``level`` must not be none.

    ``listed``: plugin names in the public table; other plugins are left out, even if ``allowed`` has them.
    """
    fields: dict[str, Any] = {
        "week": key.week,
        "identifier": key.identifier,
        "environment": key.environment,
        "revision": key.revision,
        "napari_version": info.napari_version if info.napari_version in allowed.napari_versions else DEVELOPMENT,
        "python_version": _listed_or_other(info.python_minor, allowed.python_versions),
        "platform": _listed_or_other(info.platform, allowed.platforms),
        "cpu_architecture": _listed_or_other(info.cpu_architecture, allowed.cpu_architectures),
        "sys_name": _listed_or_other(info.sys_name, allowed.sys_names),
        "first_report": first_report,
    }
    if level.includes(Level.MIDDLE):
        fields["plugins"] = public_plugins(info.plugins, allowed, listed)
    if level.includes(Level.FULL):
        fields["command_usage"] = public_commands(commands or {}, allowed, listed)
        fields["data_size_info"] = public_layers(layers or {}, allowed)
    return Batch(SCHEMA_VERSION, ConsentClaim(level, SCHEMA_VERSION), REPORT_TYPES[level](**fields))


def public_plugins(plugins: Mapping[str, str], allowed: AllowList, listed: frozenset[str]) -> list[PluginInstall]:
    """Return the listed plugins in published final versions."""
    """Return the listed plugins in published final versions."""
    published = allowed.plugins or {}
    public = [
        PluginInstall(name, version)
        for name, version in sorted(plugins.items())
        if name in listed and version in published.get(name, ()) and is_final(version)
    ]
    return public[:MAX_PLUGINS]


def public_commands(commands: Mapping[str, int], allowed: AllowList, listed: frozenset[str]) -> dict[str, int]:
    """Return rounded counts of public commands. An npe2 command id starts with its plugin's name."""
    declared = {
        command
        for name, ids in (allowed.commands or {}).items()
        for command in ids
        if (name == "napari" or name in listed) and canonicalize_name(command.partition(".")[0]) == name
    }
    used = Counter({command: count for command, count in commands.items() if command in declared and count > 0})
    return {command: round_down(count) for command, count in sorted(used.most_common(MAX_COMMANDS))}


def public_layers(layers: Mapping[LayerKind, int], allowed: AllowList) -> list[LayerUse]:
    """Return rounded counts by kind of layer; unlisted values become ``other``."""
    summed: Counter[LayerKind] = Counter()
    for kind, count in layers.items():
        named = msgspec.structs.replace(
            kind,
            layer=_listed_or_other(kind.layer, allowed.layers or []),
            class_=_listed_or_other(kind.class_, allowed.classes or []),
            dtype=_listed_or_other(kind.dtype, allowed.dtypes or []),
        )
        summed[named] += count
    chosen = sorted((kind, count) for kind, count in summed.most_common(MAX_LAYERS) if count > 0)
    return [
        LayerUse(kind.layer, kind.size_category, kind.ndim, kind.class_, kind.dtype, round_down(count))
        for kind, count in chosen
    ]


def round_down(count: int) -> Any:
    return max(limit for limit in (1, 10, 100, 1000) if limit <= count)


def estimate_allow_list(info: EnvironmentInfo, versions: Mapping[str, Sequence[str]]) -> AllowList:
    """Return a substitute for the server's list, which is fetched only with consent. For examples.

    ``versions``: by normalized name: all versions of napari, the newest of each plugin.
    """
    napari = info.napari_version
    return AllowList(
        schema_version=SCHEMA_VERSION,
        napari_versions=[napari] if napari is not None and napari in versions.get("napari", ()) else [],
        python_versions=[info.python_minor],
        platforms=[info.platform],
        cpu_architectures=[info.cpu_architecture],
        sys_names=[info.sys_name],
        plugins={
            name: [version]
            for name, version in info.plugins.items()
            if any(not is_newer(version, known) for known in versions.get(name, ()))
        },
    )


def _listed_or_other(value: str, values: list[str]) -> str:
    return value if value in values else OTHER
