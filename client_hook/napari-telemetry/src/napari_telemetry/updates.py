"""Installed x index -> what to tell. Pure, and in words that need no packaging knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from napari_telemetry.environment import Distribution, Environment
from napari_telemetry.installers import Place, how_to_update
from napari_telemetry.state.snoozes import Snooze
from napari_telemetry.wire import PackageUpdate


class Status(str, Enum):
    """How an installed package stands."""

    UP_TO_DATE = "up to date"
    UPDATE = "update"
    SNOOZED = "snoozed"
    AHEAD = "ahead"
    UNKNOWN = "unknown"


class UpdateRow(Struct, frozen=True):
    """One installed package of the index.

    ``latest``: the newest version that fits; ``newest``: the newest there is; ``note``: everything that there is to say, or
    empty. ``withdrawn``: why the installed release was yanked, empty where nobody said; ``vulnerabilities``: ids of
    advisories for the installed release. ``command``: what updates it, or None and ``no_command`` says why; both None where
    there is no update.
    """

    name: str
    installed: str
    latest: str | None
    newest: str | None
    status: Status
    note: str = ""
    withdrawn: str | None = None
    vulnerabilities: list[str] = []
    snoozed_until: datetime | None = None
    command: str | None = None
    no_command: str | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether there is something to do: an update, or an installed release that was withdrawn or is vulnerable.

        Snoozing an update does not silence the latter.
        """
        return self.status is Status.UPDATE or self.is_unsafe

    @property
    def is_unsafe(self) -> bool:
        """Whether the installed release was withdrawn or has a known vulnerability."""
        return self.withdrawn is not None or bool(self.vulnerabilities)

    @property
    def waits(self) -> bool:
        """Whether there is a newer version that does not fit here."""
        return self.newest is not None and self.newest != self.latest and self.newest != self.installed


class Sight(Struct, frozen=True):
    """How the index is looked at: from which environment, at what time, with which updates snoozed.

    ``fits_known``: False where the server can't tell what fits this Python, so that ``latest`` is merely the newest.
    """

    environment: Environment
    place: Place
    now: datetime
    snoozes: list[Snooze] = []
    fits_known: bool = True


def update_rows(packages: Mapping[str, PackageUpdate], sight: Sight) -> list[UpdateRow]:
    """Return a row for each installed package that the index has, napari first, then by name."""
    rows = [_row(key, update, sight) for key, update in packages.items() if key in sight.environment.distributions]
    return sorted(rows, key=lambda row: (row.name != "napari", row.name.lower()))


def summary_of(rows: Iterable[UpdateRow]) -> str:
    """Return in a sentence or two what there is to do."""
    rows = list(rows)
    updates = sum(row.status is Status.UPDATE for row in rows)
    unsafe = sum(row.is_unsafe for row in rows)
    if not rows:
        return "Neither napari nor a plugin of the index is installed in this environment."
    told = {0: "There are no updates.", 1: "There is 1 update."}.get(updates, f"There are {updates} updates.")
    if unsafe:
        told += f" {unsafe} installed {'release' if unsafe == 1 else 'releases'} should not be used any more: see the notes."
    elif not updates and any(row.waits for row in rows):
        told = "There are no updates that can be installed here: see the notes."
    elif not updates and all(row.status in (Status.UP_TO_DATE, Status.AHEAD) for row in rows):
        told = "Everything is up to date."
    return told


def _row(key: str, update: PackageUpdate, sight: Sight) -> UpdateRow:
    distribution = sight.environment.distributions[key]
    installed, latest = _version(distribution.version), _version(update.latest)
    snooze = next((one for one in sight.snoozes if one.covers(key, update.latest, sight.now)), None)
    if installed is None or latest is None:
        status = Status.UP_TO_DATE if installed and sight.fits_known else Status.UNKNOWN
    elif latest > installed:
        status = Status.SNOOZED if snooze else Status.UPDATE
    else:
        status = Status.AHEAD if installed > latest else Status.UP_TO_DATE
    withdrawn = update.yanked.get(distribution.version) if not distribution.is_local else None
    vulnerabilities = list(update.vulnerabilities.get(distribution.version, []))
    is_wanted = status in (Status.UPDATE, Status.SNOOZED) or withdrawn is not None or bool(vulnerabilities)
    is_other = update.latest is not None and latest != installed
    how = (
        how_to_update(sight.place, distribution, update.latest if sight.fits_known else None, update.conda_name)
        if is_wanted and is_other and update.latest is not None
        else None
    )
    return UpdateRow(
        name=distribution.name,
        installed=distribution.version,
        latest=update.latest,
        newest=update.newest or update.latest,
        status=status,
        note="; ".join(_notes(update, distribution, installed, status, snooze, sight)),
        withdrawn=withdrawn,
        vulnerabilities=vulnerabilities,
        snoozed_until=snooze.until if snooze and status is Status.SNOOZED else None,
        command=how.command if how else None,
        no_command=how.reason if how else None,
    )


def _notes(
    update: PackageUpdate,
    distribution: Distribution,
    installed: Version | None,
    status: Status,
    snooze: Snooze | None,
    sight: Sight,
) -> Iterable[str]:
    if not distribution.is_local and distribution.version in update.yanked:
        reason = update.yanked[distribution.version]
        yield f"{distribution.version} was withdrawn by its authors" + (f": {reason}" if reason else "")
    if known := update.vulnerabilities.get(distribution.version):
        yield f"{distribution.version} has a known vulnerability: {', '.join(known)}"
    if distribution.is_local:
        yield "installed from a local folder or repository"
    newest = _version(update.newest)
    if newest is not None and (installed is None or newest > installed):
        yield why_not(update, sight.environment)
    if status is Status.SNOOZED and snooze is not None:
        yield f"snoozed until {snooze.until:%Y-%m-%d}" if snooze.until else "ignored"
    if not sight.fits_known and status is Status.UPDATE:
        yield "this server can't tell whether it fits your Python"


def why_not(update: PackageUpdate, environment: Environment) -> str:
    """Return why the newest version is not offered: ``0.1.3 needs Python >=3.12; this is 3.10``."""
    if update.newest_requires_python:
        return f"{update.newest} needs Python {update.newest_requires_python}; this is {environment.python_minor}"
    if update.newest_requires_napari:
        napari = environment.distributions.get("napari")
        return f"{update.newest} needs napari {update.newest_requires_napari}" + (
            f"; this is {napari.version}" if napari else ""
        )
    return f"{update.newest} has no file for Python {environment.python_minor}"


def _version(text: str | None) -> Version | None:
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None
