"""Fetch the update table, or read it from the cache. Fall back to the legacy plugin index, which has no table.

Requests are never conditional, because a unique ETag would identify a client.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from packaging.utils import canonicalize_name

from napari_update_hook.environment import Environment
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError
from napari_update_hook.settings import Settings
from napari_update_hook.table import Release, TablePackage, read_table
from napari_update_hook.versions import parsed

DAY_S = 86400.0
Get = Callable[[str], bytes]
Answers = Mapping[str, "tuple[datetime, str]"]
"""Cached responses: fetch time and text, by URL."""


@dataclass(frozen=True)
class Index:
    """The packages that a server lists.

    ``packages``: by normalized name, each from its own channel. ``has_requirements``: False if the server does not give
    requirements. ``answers``: the responses it was read from; empty if cached.
    """

    packages: Mapping[str, TablePackage]
    fetched_at: datetime
    index_version: str | None = None
    check_again_s: float = DAY_S
    has_requirements: bool = True
    notice: str | None = None
    answers: Answers = field(default_factory=dict)


def fetch_index(get: Get, settings: Settings, environment: Environment) -> Index:
    """Fetch the index from the server. Raises ServerUnreachableError or ServerAnswerError."""
    answers: dict[str, tuple[datetime, str]] = {}

    def text_of(path: str) -> str:
        url = f"{settings.server}{path}"
        try:
            text = get(url).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ServerAnswerError(f"{settings.server} sent an unreadable response: {error}", 200) from error
        answers[url] = (settings.now(), text)
        return text

    return replace(_index_from(text_of, settings, environment, settings.now()), answers=answers)


def cached_index(answers: Answers, settings: Settings, environment: Environment) -> Index | None:
    times = []

    def text_of(path: str) -> str:
        if (found := answers.get(f"{settings.server}{path}")) is None:
            raise ServerAnswerError("never fetched", 404)
        times.append(found[0])
        return found[1]

    try:
        index = _index_from(text_of, settings, environment, settings.now())
        return replace(index, fetched_at=min(times))
    except UpdateHookError:
        return None


def listed_versions(answers: Answers) -> dict[str, tuple[str, ...]]:
    """Return the versions in cached responses, by normalized name."""
    found: dict[str, tuple[str, ...]] = {}
    for url, (_, text) in answers.items():
        try:
            if "/api/updates/" in url:
                for name, package in read_table(text.encode()).packages.items():
                    found[name] = found.get(name, ()) + tuple(row.version for row in package.releases)
            elif url.endswith("/api/extended_summary"):
                found |= {str(canonicalize_name(str(item["name"]))): (str(item["version"]),) for item in json.loads(text)}
        except (ValueError, TypeError, KeyError):
            continue
    return found


def takes_reports(answers: Answers, server: str) -> bool | None:
    """Return whether the server announces that it accepts usage reports, or None before the first response."""
    own = {url: text for url, (_, text) in answers.items() if url.startswith(f"{server}/")}
    if not own:
        return None
    with contextlib.suppress(ValueError):
        return any(read_table(text.encode()).takes_reports for url, text in own.items() if "/api/updates/" in url)
    return False


def _index_from(text_of: Callable[[str], str], settings: Settings, environment: Environment, now: datetime) -> Index:
    try:
        index = _table(text_of, settings, environment.channel, now)
    except ServerAnswerError as error:
        if error.status != 404:
            raise
        return _legacy_index(text_of, settings, environment, now)
    # In a conda environment, packages installed with pip come from PyPI
    others = {
        name
        for name, one in environment.distributions.items()
        if environment.channel_of(name) != environment.channel and (one.is_plugin or name in index.packages)
    }
    if not others:
        return index
    packages = {name: package for name, package in index.packages.items() if name not in others}
    channel = "pypi" if environment.channel != "pypi" else "conda-forge"
    try:
        found = _table(text_of, settings, channel, now).packages
    except (ServerAnswerError, ServerUnreachableError) as error:
        return replace(index, packages=packages, notice=f"Packages from {channel} were not compared: {error}")
    return replace(index, packages=packages | {name: found[name] for name in others & set(found)})


def _table(text_of: Callable[[str], str], settings: Settings, channel: str, now: datetime) -> Index:
    text = text_of(f"/api/updates/{channel}.json")
    try:
        table = read_table(text.encode())
    except ValueError as error:
        raise ServerAnswerError(f"{settings.server} sent an unreadable table: {error}", 200) from error
    return Index(table.packages, now, table.index_version, table.check_again_s)


def _legacy_index(text_of: Callable[[str], str], settings: Settings, environment: Environment, now: datetime) -> Index:
    try:
        items = _json(text_of("/api/extended_summary"), list, settings.server)
    except ServerAnswerError as error:
        if error.status != 404:
            raise
        raise ServerAnswerError(f"There is no plugin index at {settings.server}.", 404) from error
    from_conda = environment.channel == "conda-forge"
    conda_names = _conda_names(text_of, settings.server) if from_conda else {}
    packages = {}
    for item in items:
        name = str(canonicalize_name(str(item.get("name", "")))) if isinstance(item, dict) else ""
        newest = (_newest(item.get("conda_versions")) if from_conda else item.get("version")) if name else None
        if newest and isinstance(newest, str):
            packages[name] = TablePackage((Release(newest),), conda_name=conda_names.get(name))
    unknown = ["which versions work with your Python and napari", "which releases were withdrawn or are vulnerable"]
    if "napari" not in packages:
        unknown.append("whether there is a new napari version")
    notice = f"{settings.server} knows only the newest version of each plugin. It does not know {', or '.join(unknown)}."
    return Index(packages, now, has_requirements=False, notice=notice)


def _conda_names(text_of: Callable[[str], str], server: str) -> dict[str, str]:
    """Return the names on conda-forge that differ; the server lists them as ``conda-forge/micro_sam``."""
    try:
        known = _json(text_of("/api/conda-map"), dict, server)
    except UpdateHookError:
        return {}
    named = {str(canonicalize_name(name)): str(path or "").rpartition("/")[2] for name, path in known.items()}
    return {key: name for key, name in named.items() if name and name != key}


def _newest(versions: Any) -> str | None:
    found = [version for text in versions or () if (version := parsed(str(text))) is not None]
    final = [version for version in found if not version.is_prerelease]
    return str(max(final or found)) if found else None


def _json(text: str, kind: type, server: str) -> Any:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ServerAnswerError(f"{server} sent an unreadable response: {error}", 200) from error
    if not isinstance(document, kind):
        raise ServerAnswerError(f"{server} sent an unreadable response: it is not a {kind.__name__}.", 200)
    return document
