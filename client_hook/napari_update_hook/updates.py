"""Installed x index -> what to tell. Pure, and in words that need no packaging knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.wire import PackageUpdate


class Status(str, Enum):
    """How an installed package stands."""

    UP_TO_DATE = "up to date"
    UPDATE = "update"
    AHEAD = "ahead"
    UNKNOWN = "unknown"


class UpdateRow(Struct, frozen=True):
    """One installed package of the index. ``latest``: the newest that fits; ``note``: what else there is to say, or empty."""

    name: str
    installed: str
    latest: str | None
    newest: str | None
    status: Status
    note: str = ""


def update_rows(environment: Environment, packages: Mapping[str, PackageUpdate], *, fits_known: bool = True) -> list[UpdateRow]:
    """Return a row for each installed package that the index has, napari first, then by name.

    ``fits_known``: False where the server can't tell what fits this Python, so that ``latest`` is merely the newest.
    """
    rows = [
        _row(environment.distributions[key], update, environment.python_minor, fits_known)
        for key, update in packages.items()
        if key in environment.distributions
    ]
    return sorted(rows, key=lambda row: (row.name != "napari", row.name.lower()))


def _row(distribution: Distribution, update: PackageUpdate, python: str, fits_known: bool) -> UpdateRow:
    installed, latest = _version(distribution.version), _version(update.latest)
    if installed is None or latest is None:
        status = Status.UP_TO_DATE if installed and fits_known else Status.UNKNOWN
    elif latest > installed:
        status = Status.UPDATE
    else:
        status = Status.AHEAD if installed > latest else Status.UP_TO_DATE
    notes = []
    if distribution.version in update.yanked:
        reason = update.yanked[distribution.version]
        notes.append(f"{distribution.version} was withdrawn" + (f": {reason}" if reason else ""))
    if distribution.is_local:
        notes.append("installed from a local folder or repository")
    newest = _version(update.newest)
    if newest is not None and (installed is None or newest > installed):
        notes.append(why_not(update, python))
    if not fits_known and status is Status.UPDATE:
        notes.append("this server can't tell whether it fits your Python")
    return UpdateRow(
        distribution.name, distribution.version, update.latest, update.newest or update.latest, status, "; ".join(notes)
    )


def why_not(update: PackageUpdate, python: str) -> str:
    """Return why the newest version is not offered: ``0.1.3 needs Python >=3.12; this is 3.10``."""
    if update.newest_requires_python:
        return f"{update.newest} needs Python {update.newest_requires_python}; this is {python}"
    if update.newest_requires_napari:
        return f"{update.newest} needs napari {update.newest_requires_napari}"
    return f"{update.newest} has no file for Python {python}"


def _version(text: str | None) -> Version | None:
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None
