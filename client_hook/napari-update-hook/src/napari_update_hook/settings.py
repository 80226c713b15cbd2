"""The settings: server, state folder, opt-outs and administrators' rules."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from napari_update_hook.errors import SettingsError

APPLICATION = "napari-update-hook"
DEFAULT_SERVER = "https://api.napari.org"
_ON = frozenset({"1", "true", "yes", "on", "y", "t", "enable", "enabled"})
_OFF = frozenset({"0", "false", "no", "off", "none", "n", "f", "never", "disable", "disabled"})
UNATTENDED_VARIABLES = (
    "CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "JENKINS_URL",
    "TEAMCITY_VERSION", "TRAVIS", "CIRCLECI", "APPVEYOR", "BUILDKITE", "CODEBUILD_BUILD_ID", "PYTEST_VERSION",
)  # fmt: skip


def system_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class SiteRules:
    """Rules from the administrators' site files. ``disabled_by``: why the check is off, or None."""

    server: str | None = None
    disabled_by: str | None = None


@dataclass(frozen=True)
class Settings:
    """The effective settings.

    ``state``: the state folder, or None if the account has no home folder. ``disabled_by``: why the check is off, or None.
    """

    server: str
    state: Path | None
    disabled_by: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], datetime] = system_now


def settings_from(environ: Mapping[str, str], server: str | None = None, site: SiteRules | None = None) -> Settings:
    """Read the settings. ``server``: overrides every configured server. Raises SettingsError."""
    site = read_site_rules(site_files(environ)) if site is None else site
    base = checked_server(server or environ.get("NAPARI_UPDATE_SERVER") or site.server or DEFAULT_SERVER)
    switch = environ.get("NAPARI_UPDATE_CHECK", "").strip()
    disabled_by = f"NAPARI_UPDATE_CHECK={switch} is set" if switch and switch.lower() not in _ON else site.disabled_by
    return Settings(base, state_folder(environ), disabled_by, environ, clock_from(environ, [base]))


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the state folder, or None for accounts without a home folder, as in some containers."""
    if chosen := environ.get("NAPARI_UPDATE_STATE"):
        return Path(chosen)
    from platformdirs import user_data_path

    try:
        folder = user_data_path(APPLICATION, appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if folder.is_absolute() else None


def checked_server(url: str) -> str:
    """Normalize a base URL: https, http on loopback, or a folder. Raises SettingsError if it is anything else."""
    if is_folder(url):
        return url.rstrip("/")
    try:
        parts = urlsplit(url.rstrip("/"))
        host, port = parts.hostname, parts.port
    except ValueError:  # invalid IPv6 address or port
        host, port = None, None
    if not host or port == 0 or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise SettingsError(f"{url!r} is not a server address. Write it like https://api.napari.org")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"{url!r} is not encrypted. Use https; http is allowed only for this machine.")
    return url.rstrip("/")


def is_folder(url: str) -> bool:
    """Return whether a server is a local folder, such as ``file:///srv/napari-index``."""
    return url.lower().startswith("file:///") and not url.endswith("//")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine; a name such as ``127.example.org`` is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def clock_from(environ: Mapping[str, str], servers: Iterable[str]) -> Callable[[], datetime]:
    """Return the clock. NAPARI_UPDATE_NOW sets its time, but only if all servers are local. Raises SettingsError."""
    text = environ.get("NAPARI_UPDATE_NOW")
    if not text:
        return system_now
    if not all(is_folder(server) or is_loopback(urlsplit(server).hostname or "") for server in servers):
        raise SettingsError("NAPARI_UPDATE_NOW is accepted only if every server is on this machine.")
    try:
        start = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(f"NAPARI_UPDATE_NOW={text!r} is not a date and time. Write it like 2026-11-24T12:00:00Z") from error
    offset = (start if start.tzinfo else start.replace(tzinfo=timezone.utc)) - system_now()
    return lambda: system_now() + offset


def fixed_site_file(environ: Mapping[str, str], platform: str) -> PurePath:
    if platform == "win32":
        return PureWindowsPath(environ.get("PROGRAMDATA", r"C:\ProgramData")) / APPLICATION / "site.json"
    if platform == "darwin":
        return PurePosixPath("/Library/Application Support") / APPLICATION / "site.json"
    return PurePosixPath("/etc/xdg") / APPLICATION / "site.json"


def site_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the site files. The path that users can change comes first, so that the other one takes precedence."""
    from platformdirs import site_config_path

    fixed = Path(fixed_site_file(environ, sys.platform))
    try:
        movable = site_config_path(APPLICATION, appauthor=False) / "site.json"
    except (RuntimeError, OSError):
        return (fixed,)
    return tuple(dict.fromkeys((fixed, movable) if sys.platform == "win32" else (movable, fixed)))


def read_site_rules(files: Iterable[Path]) -> SiteRules:
    """Combine the site files: any file can turn the check off, and the last server wins.

    An unreadable file turns the check off, because it may contain that rule.
    """
    server, disabled_by = None, None
    for path in files:
        try:
            said = json.loads(path.read_text("utf-8-sig"))  # Windows editors may add a byte order mark
            if not isinstance(said, dict) or not isinstance(said.get("server", ""), str):
                raise ValueError("it is not a JSON object of strings")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            disabled_by = f"the administrator's file {path} cannot be read ({reason})"
            continue
        server = said.get("server") or server
        if said.get("update_check", True) is not True:
            disabled_by = f"the administrator of this computer turned it off ({path})"
    return SiteRules(server, disabled_by)


def opt_out_variable(environ: Mapping[str, str]) -> str | None:
    """Return the variable (``NAME=value``) that turns usage reports and their prompt off, or None."""
    if (value := environ.get("NAPARI_TELEMETRY", "").strip()) and value.lower() not in _ON:
        return f"NAPARI_TELEMETRY={value}"
    for name in ("DO_NOT_TRACK", *UNATTENDED_VARIABLES):
        if (value := environ.get(name, "").strip()) and value.lower() not in _OFF:
            return f"{name}={value}"
    return None


def site_controls_reports(environ: Mapping[str, str]) -> bool:
    """Return whether a site file mentions usage reports or is unreadable; users are not prompted then."""
    for path in site_files(environ):
        try:
            said = json.loads(path.read_text("utf-8-sig"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError):
            return True
        if not isinstance(said, dict) or {"telemetry", "maximum_level"} & set(said):
            return True
    return False


def current_settings(server: str | None = None) -> Settings:
    return settings_from(os.environ, server)
