"""Servers, administrators' rules, and opt-outs. All input comes from arguments, which makes testing easy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_update_hook.errors import SettingsError
from napari_update_hook.settings import (
    DEFAULT_SERVER,
    checked_server,
    clock_from,
    is_folder,
    opt_out_variable,
    site_files,
    state_folder,
    system_now,
)

from napari_telemetry.wire import TELEMETRY_LEVELS, Level


@dataclass(frozen=True)
class SiteRules:
    """The administrators' rules.

    ``sources``: the files; ``damaged``: unusable files, with reasons. ``level_servers``: applies only with ``server``.
    """

    telemetry: bool = True
    server: str | None = None
    level_servers: Mapping[Level, str] = field(default_factory=dict)
    maximum_level: Level = Level.FULL
    sources: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Maximum:
    """The maximum level in Preferences. ``is_chosen``: set by the user; otherwise unset or unreadable."""

    level: Level = Level.FULL
    is_chosen: bool = False


@dataclass(frozen=True)
class TelemetrySettings:
    """The settings of a client.

    ``server``: base URL of the index; ``level_servers``: base URL by level; ``state``: folder of the state file.
    """

    server: str
    level_servers: Mapping[Level, str]
    state: Path | None
    site: SiteRules = field(default_factory=SiteRules)
    environ: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], datetime] = system_now
    preferences: Callable[[], Maximum] = lambda: Maximum()

    @property
    def service(self) -> str:
        return origin_of(self.server)

    def opt_out(self) -> str | None:
        """Return a clause naming what switches telemetry off, or None."""
        if (variable := opt_out_variable(self.environ)) is not None:
            return f"{variable} is set"
        site = self.site
        if site.damaged:
            return f"the administrator's file cannot be read, which counts as off ({', '.join(site.damaged)})"
        if not site.telemetry or site.maximum_level is Level.NONE:
            return f"the administrator of this computer switched it off ({', '.join(site.sources)})"
        return None


def settings_from(
    environ: Mapping[str, str],
    server: str | None = None,
    site: SiteRules | None = None,
    preferences: Callable[[], Maximum] = lambda: Maximum(),
) -> TelemetrySettings:
    """Read the settings. Raises SettingsError."""
    site = read_site_rules(site_files(environ)) if site is None else site
    base = checked_server(server or environ.get("NAPARI_UPDATE_SERVER") or site.server or DEFAULT_SERVER)
    of_base = site.level_servers if _is_same_origin(base, site.server) else {}
    levels = {
        level: checked_server(environ.get(f"NAPARI_UPDATE_SERVER_{level.name}") or of_base.get(level) or base)
        for level in TELEMETRY_LEVELS
    }
    clock = clock_from(environ, {base, *levels.values()})
    return TelemetrySettings(base, levels, state_folder(environ), site, environ, clock, preferences)


def origin_of(url: str) -> str:
    """Return ``scheme://host[:port]`` in lower case, without a default port."""
    parts = urlsplit(url)
    if is_folder(url):
        return url
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    is_default = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{parts.port}")


def read_site_rules(files: Iterable[Path]) -> SiteRules:
    """Combine the strictest rules of all files; the last server wins. Only ``true`` keeps telemetry on."""
    rules = SiteRules()
    for path in files:
        damaged = rules.damaged
        try:
            said = json.loads(path.read_text("utf-8-sig"))  # Windows editors may add a byte order mark
            if not isinstance(said, dict):
                raise ValueError("it is not a JSON object")
            server, levels = _parse_servers(said)
            maximum = Level(said.get("maximum_level", Level.FULL))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            said, maximum, damaged = {"telemetry": False}, Level.NONE, (*damaged, f"{path}: {reason}")
            server, levels = "", {}
        rules = SiteRules(
            telemetry=rules.telemetry and said.get("telemetry", True) is True,
            server=server or rules.server,
            level_servers=levels or (rules.level_servers if not server or _is_same_origin(server, rules.server) else {}),
            maximum_level=lowest(rules.maximum_level, maximum),
            sources=(*rules.sources, str(path)),
            damaged=damaged,
        )
    return rules


def lowest(*levels: Level) -> Level:
    return min(levels, key=lambda level: level.rank)


def _parse_servers(said: dict[str, Any]) -> tuple[str, dict[Level, str]]:
    """Return the server and the servers by level. Raises ValueError.

    Levels' hosts must be the server's host or its subdomains, because consent names only the server.
    """
    server, levels = said.get("server", ""), said.get("level_servers", {})
    if not isinstance(server, str) or not isinstance(levels, dict) or not all(isinstance(url, str) for url in levels.values()):
        raise ValueError("server is not a string, or level_servers is not an object of strings")
    if levels and not server:
        raise ValueError("level_servers is set without a server")
    found = {Level(name): url for name, url in levels.items()}
    if Level.NONE in found:
        raise ValueError("level_servers names level none, at which nothing is sent")
    try:
        host = urlsplit(checked_server(server)).hostname if found else ""
        hosts = [urlsplit(checked_server(url)).hostname or "" for url in found.values()]
    except SettingsError as error:
        raise ValueError(str(error)) from error
    if any(one != host and not one.endswith(f".{host}") for one in hosts):
        raise ValueError(f"level_servers must be on {host} or its subdomains")
    return server, found


def _is_same_origin(server: str, other: str | None) -> bool:
    try:
        return other is not None and origin_of(checked_server(server)) == origin_of(checked_server(other))
    except SettingsError:
        return False
