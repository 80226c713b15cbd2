"""Every way off, and which one is in force. Pure: environment variables and site rules in, a sentence or None out.

Uninstalling the package is another way, and needs no code.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from napari_telemetry.settings import SiteRules

_OFF = frozenset({"0", "false", "no", "off", "none", "n", "f", "never", "disable", "disabled"})
_ON = frozenset({"1", "true", "yes", "on", "y", "t", "enable", "enabled"})

CI_VARIABLES = (
    "CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "JENKINS_URL",
    "TEAMCITY_VERSION", "TRAVIS", "CIRCLECI", "APPVEYOR", "BUILDKITE", "CODEBUILD_BUILD_ID",
)  # fmt: skip
"""Set by continuous integration systems: no one is there who could consent."""


class Switch(Struct, frozen=True):
    """What switches something off: in a word or two, and in a clause, both for people."""

    name: str
    reason: str


def telemetry_switch(environ: Mapping[str, str], site: SiteRules) -> Switch | None:
    """Return what switches telemetry off whatever the consent record says; None if nothing does."""
    if _says_off(environ.get("NAPARI_TELEMETRY")):
        return Switch("NAPARI_TELEMETRY", f"NAPARI_TELEMETRY={environ['NAPARI_TELEMETRY']} is set")
    if _says_on(environ.get("DO_NOT_TRACK")):
        return Switch("DO_NOT_TRACK", f"DO_NOT_TRACK={environ['DO_NOT_TRACK']} is set")
    for name in CI_VARIABLES:
        if _says_on(environ.get(name)):
            return Switch(name, f"this is a continuous integration system ({name} is set)")
    if site.damaged:
        reason = f"the administrator's file can't be read, which counts as off ({', '.join(site.damaged)})"
        return Switch("the administrator's file", reason)
    if not site.telemetry:
        return Switch("the administrator", f"the administrator of this computer switched it off ({', '.join(site.sources)})")
    return None


def telemetry_switched_off(environ: Mapping[str, str], site: SiteRules) -> str | None:
    """Return in a clause what switches telemetry off whatever the consent record says; None if nothing does."""
    switch = telemetry_switch(environ, site)
    return switch.reason if switch else None


def _says_off(value: str | None) -> bool:
    """Whether a variable is set to something that does not plainly mean yes."""
    return bool(value and value.strip()) and str(value).strip().lower() not in _ON


def _says_on(value: str | None) -> bool:
    """Whether a variable is set to something that does not plainly mean no."""
    return bool(value and value.strip()) and str(value).strip().lower() not in _OFF
