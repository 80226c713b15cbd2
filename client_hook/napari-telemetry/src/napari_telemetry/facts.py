"""What is known about an environment in a week, before the public lists decide what of it may be sent. Pure.

Kept on this computer until the week's report has been taken, so that a week that could not be sent in time can be sent later.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from packaging.version import InvalidVersion, Version

from napari_telemetry.environment import Environment
from napari_telemetry.wire import Level


class Facts(Struct, frozen=True):
    """The environment as a report may need it.

    ``napari_version``: None where napari was not installed from an index, or is a pre-release. ``plugins``: version by
    normalized name, of every installed distribution that could be a public plugin; empty below level middle.
    """

    napari_version: str | None
    python_minor: str
    platform: str
    cpu_architecture: str
    sys_name: str
    plugins: dict[str, str] = {}


def facts_of(environment: Environment, level: Level) -> Facts:
    """Return what a report of ``level`` may need to know, and no more."""
    napari = environment.distributions.get("napari")
    plugins = {
        key: distribution.version
        for key, distribution in sorted(environment.distributions.items())
        if key != "napari" and not distribution.is_local and is_final(distribution.version)
    }
    return Facts(
        napari_version=napari.version if napari and not napari.is_local and is_final(napari.version) else None,
        python_minor=environment.python_minor,
        platform=environment.platform,
        cpu_architecture=environment.cpu_architecture,
        sys_name=environment.sys_name,
        plugins=plugins if level.includes(Level.MIDDLE) else {},
    )


def is_final(version: str) -> bool:
    """Tell whether a version is a final public one: no pre-release, no development release, no local part (PEP 440)."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return False
    return not parsed.is_prerelease and parsed.local is None


encoded_facts = msgspec.json.Encoder().encode
decoded_facts = msgspec.json.Decoder(Facts).decode
