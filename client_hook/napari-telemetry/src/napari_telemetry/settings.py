"""Where the servers are, where state lies, what an administrator decided: read once, at the edge.

Everything comes from arguments, so that a test can be any machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_update_hook.settings import APPLICATION, is_folder, is_loopback, site_files
from platformdirs import user_data_path

from napari_telemetry.clock import Now, going_on_from, system_now
from napari_telemetry.errors import SettingsError
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

DEFAULT_SERVER = "https://api.napari.org"


@dataclass(frozen=True)
class SiteRules:
    """What administrators decided for this computer. ``sources``: files that say so; ``damaged``: those that can't be
    used, with the reason.

    ``level_servers``: the hosts of the levels of ``server``, and of no other.
    """

    telemetry: bool = True
    server: str | None = None
    level_servers: Mapping[Level, str] = field(default_factory=dict)
    maximum_level: Level = Level.FULL
    sources: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClientSettings:
    """Everything that decides what the client does, but for the consent record.

    ``server``: base URL of the index; ``level_servers``: base URL for each telemetry level; ``state``: folder of the state
    files; ``environ``: the environment variables that switches look at.
    """

    server: str
    level_servers: Mapping[Level, str]
    state: Path
    site: SiteRules = field(default_factory=SiteRules)
    environ: Mapping[str, str] = field(default_factory=dict)
    now: Now = system_now

    @property
    def service(self) -> str:
        """To whom consent is given: the origin of the server."""
        return origin_of(self.server)


def settings_from(environ: Mapping[str, str], server: str | None = None, site: SiteRules | None = None) -> ClientSettings:
    """Read the settings. ``server``: the option of the command line, which goes first. Raises SettingsError."""
    site = read_site_rules(site_files(environ)) if site is None else site
    base = checked_server(server or environ.get("NAPARI_UPDATE_SERVER") or site.server or DEFAULT_SERVER)
    of_base = site.level_servers if _is_same(base, site.server) else {}
    levels = {
        level: checked_server(environ.get(f"NAPARI_UPDATE_SERVER_{level.name}") or of_base.get(level) or base)
        for level in TELEMETRY_LEVELS
    }
    state = environ.get("NAPARI_UPDATE_STATE")
    return ClientSettings(
        server=base,
        level_servers=levels,
        state=Path(state) if state else _state_folder(),
        site=site,
        environ=environ,
        now=_clock(environ.get("NAPARI_UPDATE_NOW"), {base, *levels.values()}),
    )


def _state_folder() -> Path:
    try:
        folder = user_data_path(APPLICATION, appauthor=False)
    except (RuntimeError, KeyError, OSError):
        folder = Path()
    if not folder.is_absolute():
        raise SettingsError("This account has no home folder, so no answer can be kept. Set NAPARI_UPDATE_STATE to a folder.")
    return folder


def checked_server(url: str) -> str:
    """Return a base URL without a slash at its end: https, http to this very machine, or a folder. Raises SettingsError."""
    if is_folder(url):
        return url.rstrip("/")
    try:
        parts = urlsplit(url.rstrip("/"))
        host, port = parts.hostname, parts.port
    except ValueError:  # half an IPv6 address, a port that is no number
        host, port = None, None
    if not host or port == 0 or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise SettingsError(f"{url!r} is no address of a server: write it like https://api.napari.org")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"{url!r} is not encrypted: only https is used, but for this very machine")
    return url.rstrip("/")


def origin_of(url: str) -> str:
    """Return ``scheme://host[:port]``, in lower case, without the port that the scheme has anyway."""
    parts = urlsplit(url)
    if is_folder(url):
        return url
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    is_default = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{parts.port}")


def _clock(text: str | None, servers: Iterable[str]) -> Now:
    if not text:
        return system_now
    if not all(is_folder(server) or is_loopback(urlsplit(server).hostname or "") for server in servers):
        raise SettingsError("NAPARI_UPDATE_NOW moves the clock, which is refused unless every server is on this machine")
    try:
        start = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(f"NAPARI_UPDATE_NOW={text!r} is no instant: write it like 2026-11-24T12:00:00Z") from error
    return going_on_from(start if start.tzinfo else start.replace(tzinfo=timezone.utc))


def read_site_rules(files: Iterable[Path]) -> SiteRules:
    """Return the strictest of what the files say; of servers the one that the last file names.

    Whatever is not plainly ``true`` is off, and a file that can't be read switches telemetry off: that is the safe reading.
    """
    rules = SiteRules()
    for path in files:
        damaged = rules.damaged
        try:
            said = json.loads(path.read_text("utf-8-sig"))  # editors on Windows may begin it with a mark
            if not isinstance(said, dict):
                raise ValueError("it holds no JSON object")
            server, levels = _said_servers(said)
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
            level_servers=levels or (rules.level_servers if not server or _is_same(server, rules.server) else {}),
            maximum_level=min(rules.maximum_level, maximum, key=lambda level: level.rank),
            sources=(*rules.sources, str(path)),
            damaged=damaged,
        )
    return rules


def _said_servers(said: dict[str, Any]) -> tuple[str, dict[Level, str]]:
    """Return the server that a file names, and the hosts of its levels, which are that server's or below it: consent names
    the server, and reports go to nobody else. Raises ValueError.
    """
    server, levels = said.get("server", ""), said.get("level_servers", {})
    if not isinstance(server, str):
        raise ValueError("server is no text")
    if not isinstance(levels, dict) or not all(isinstance(url, str) and url for url in levels.values()):
        raise ValueError("level_servers is no object of texts")
    if levels and not server:
        raise ValueError("level_servers are those of a server, which it does not name")
    found = {Level(name): url for name, url in levels.items()}
    if Level.NONE in found:
        raise ValueError("at level none nothing is sent")
    try:
        host = urlsplit(checked_server(server)).hostname if found else ""
        hosts = [urlsplit(checked_server(url)).hostname or "" for url in found.values()]
    except SettingsError as error:
        raise ValueError(str(error)) from error
    if any(one != host and not one.endswith(f".{host}") for one in hosts):
        raise ValueError(f"level_servers are not below {host}")
    return server, found


def _is_same(server: str, other: str | None) -> bool:
    """Whether two addresses are those of one service. One that can't be used is nobody's."""
    try:
        return other is not None and origin_of(checked_server(server)) == origin_of(checked_server(other))
    except SettingsError:
        return False
