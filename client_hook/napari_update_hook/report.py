"""The report of a week, made of public strings alone. Pure: environment and allow-list in, a report out."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from napari_update_hook.environment import Environment
from napari_update_hook.wire import (
    REPORT_TYPES,
    SCHEMA_VERSION,
    AllowList,
    BasicReport,
    Batch,
    ConsentClaim,
    Level,
    PluginInstall,
)

OTHER = "other"
DEVELOPMENT = "development"


class ReportKey(Struct, frozen=True):
    """What addresses a report, and which state of it this is."""

    week: str
    identifier: str
    environment: str
    revision: int


def build_batch(
    level: Level, key: ReportKey, environment: Environment, allowed: AllowList, *, first_report: bool
) -> Batch[BasicReport]:
    """Return what is sent at ``level``, which must not be none: no string in it that ``allowed`` does not have."""
    napari = environment.distributions.get("napari")
    napari_version = napari.version if napari and not napari.is_local else DEVELOPMENT
    fields: dict[str, Any] = {
        "week": key.week,
        "identifier": key.identifier,
        "environment": key.environment,
        "revision": key.revision,
        "napari_version": napari_version if napari_version in allowed.napari_versions else DEVELOPMENT,
        "python_version": _listed(environment.python_minor, allowed.python_versions),
        "platform": _listed(environment.platform, allowed.platforms),
        "cpu_architecture": _listed(environment.cpu_architecture, allowed.cpu_architectures),
        "sys_name": _listed(environment.sys_name, allowed.sys_names),
        "first_report": first_report,
    }
    if level.includes(Level.MIDDLE):
        fields["plugins"] = public_plugins(environment, allowed)
    if level.includes(Level.FULL):
        # Commands and layers are counted inside napari; where none were, there is nothing to tell.
        fields |= {"command_usage": {}, "data_size_info": []}
    return Batch(SCHEMA_VERSION, ConsentClaim(level, SCHEMA_VERSION), REPORT_TYPES[level](**fields))


def public_plugins(environment: Environment, allowed: AllowList) -> list[PluginInstall]:
    """Return the installed plugins that the public index lists, in published final versions, by name.

    One that was installed from a folder or repository is left out, whatever version it claims.
    """
    plugins = []
    for key, distribution in sorted(environment.distributions.items()):
        published = (allowed.plugins or {}).get(key, ())
        if not distribution.is_local and _is_final(distribution.version) and distribution.version in published:
            plugins.append(PluginInstall(key, distribution.version))
    return plugins


def _is_final(version: str) -> bool:
    try:
        parsed = Version(version)
    except InvalidVersion:
        return False
    return not parsed.is_prerelease and parsed.local is None


def _listed(value: str, values: list[str]) -> str:
    return value if value in values else OTHER
