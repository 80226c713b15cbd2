"""The state of one Python environment: a few JSON files.

Each user choice has its own file, replaced atomically, so concurrent processes lose nothing. A damaged file counts as
empty.

    environments/3f9a…/check.json               cached responses, back-off, notified updates
    environments/3f9a…/said/affinder==0.5.0.json
    environments/3f9a…/restore/20261129T1200….json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from napari_update_hook.errors import InstallError, StateError
from napari_update_hook.versions import same_version

EVERY_VERSION = "*"
MAX_RESTORE_POINTS = 5
NOTIFY_INTERVAL = timedelta(days=1)
_DURATION = re.compile(r"([0-9]{1,4})([dwm])")
_DAYS = {"d": 1, "w": 7, "m": 30}


@dataclass(frozen=True)
class Snooze:
    name: str  # normalized
    version: str  # or EVERY_VERSION
    until: datetime | None = None  # None: forever

    def covers(self, name: str, version: str | None, now: datetime) -> bool:
        is_meant = self.name == name and (self.version == EVERY_VERSION or same_version(self.version, version))
        return is_meant and (self.until is None or now < self.until)


@dataclass(frozen=True)
class Pause:
    """The time until the next check: the interval, or a back-off after failures.

    ``failures``: number of consecutive failures. ``is_directed``: whether the server asked for it. ``reason``: the last
    error.
    """

    set_at: datetime
    not_before: datetime
    failures: int = 0
    is_directed: bool = False
    reason: str | None = None


@dataclass
class CheckState:
    """The state of the checks. ``answers``: fetch time and text, by URL. ``notified``: updates, as ``name==version``."""

    answers: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    pause: Pause | None = None
    notified: frozenset[str] = frozenset()
    notified_at: datetime | None = None


class State:
    """Reads and writes the state. ``folder``: the account's state folder, or None if nothing can be saved."""

    def __init__(self, folder: Path | None, environment: str) -> None:
        self.folder = folder / "environments" / environment if folder is not None else None

    def read_check(self) -> CheckState:
        """Return the state of the checks; empty if the file is missing or damaged."""
        document = self._read("check.json")
        try:
            pause = document.get("pause")
            notified = document.get("notified", {})
            return CheckState(
                {url: (_instant(at), str(text)) for url, (at, text) in document.get("answers", {}).items()},
                Pause(_instant(pause[0]), _instant(pause[1]), int(pause[2]), pause[3] is True, pause[4]) if pause else None,
                frozenset(map(str, notified.get("updates", ()))),
                _instant(notified["at"]) if notified.get("at") else None,
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return CheckState()

    def write_check(self, state: CheckState) -> None:
        """Save the state of the checks. Raises StateError."""
        pause = state.pause
        document: dict[str, Any] = {"answers": {url: [at.isoformat(), text] for url, (at, text) in state.answers.items()}}
        if pause is not None:
            times = [pause.set_at.isoformat(), pause.not_before.isoformat()]
            document["pause"] = [*times, pause.failures, pause.is_directed, pause.reason]
        if state.notified_at is not None:
            document["notified"] = {"at": state.notified_at.isoformat(), "updates": sorted(state.notified)}
        self._write("check.json", document)

    def snoozes(self) -> list[Snooze]:
        """Return all snoozes, including expired ones, sorted by name."""
        found = []
        for document in self._read_all("said/*==*.json"):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                until = document.get("until")
                found.append(Snooze(str(document["name"]), str(document["version"]), _instant(until) if until else None))
        return sorted(found, key=lambda one: (one.name, one.version))

    def snooze(self, snooze: Snooze) -> None:
        """Save a snooze, replacing an earlier one of the same version. Raises StateError."""
        until = snooze.until.isoformat() if snooze.until else None
        self._write(_file_of(snooze), {"name": snooze.name, "version": snooze.version, "until": until})

    def unsnooze(self, name: str) -> int:
        """Remove the snoozes of a package; return how many there were. Raises StateError."""
        found = [one for one in self.snoozes() if one.name == name]
        for one in found:
            self._remove(_file_of(one))
        return len(found)

    def notifications_enabled(self) -> bool:
        return self._read("said/notify.json").get("notify", True) is True

    def set_notifications(self, wanted: bool) -> None:
        self._write("said/notify.json", {"notify": wanted})

    def was_offered(self) -> bool:
        return bool(self._read("said/offer.json"))

    def record_offer(self) -> None:
        self._write("said/offer.json", {"offered": True})

    def restore_points(self) -> list[dict[str, Any]]:
        points = [one for one in self._read_all("restore/*.json") if isinstance(one.get("at"), str) and "packages" in one]
        return sorted(points, key=lambda one: str(one["at"]), reverse=True)

    def add_restore_point(self, document: dict[str, Any]) -> None:
        """Save a restore point, with its ISO time in ``at``; keep only the newest few. Raises StateError."""
        self._write(f"restore/{_digits(document['at'])}.json", document)
        for old in self.restore_points()[MAX_RESTORE_POINTS:]:
            self.drop_restore_point(old)

    def drop_restore_point(self, document: dict[str, Any]) -> None:
        self._remove(f"restore/{_digits(str(document.get('at')))}.json")

    @contextlib.contextmanager
    def installing(self) -> Iterator[None]:
        """Hold the installation lock. Raises InstallError if another process holds it.

        The lock is released when this process ends, even if the tool keeps running.
        """
        if self.folder is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _lock(stack.enter_context((self.folder / "installing").open("wb")))
            except BlockingIOError:
                raise InstallError(
                    "Another program is installing updates in this environment. Try again when it has finished."
                ) from None
            except OSError:
                pass  # this file system does not support locks
            yield

    def signature(self) -> tuple[Any, ...]:
        """Return a value that changes when another process changes the state."""
        if self.folder is None:
            return ()
        return tuple(_stat(self.folder / name) for name in ("check.json", "said", "said/notify.json", "telemetry.json"))

    def read_telemetry(self) -> dict[str, Any]:
        return self._read("telemetry.json")

    def write_telemetry(self, document: dict[str, Any] | None) -> None:
        """Write ``telemetry.json`` (see `seam`), or remove it if None. Errors are ignored."""
        with contextlib.suppress(StateError):
            if document is None and self.folder is not None:
                self._remove("telemetry.json")
            elif document is not None and document != self.read_telemetry():
                self._write("telemetry.json", document)

    def _read(self, name: str) -> dict[str, Any]:
        return _document(self.folder / name) if self.folder is not None else {}

    def _read_all(self, pattern: str) -> Iterable[dict[str, Any]]:
        try:
            paths = sorted(self.folder.glob(pattern)) if self.folder is not None else []
        except OSError:
            paths = []
        return [document for path in paths if (document := _document(path))]

    def _write(self, name: str, document: dict[str, Any]) -> None:
        if self.folder is None:
            raise StateError("Nothing can be saved: this account has no home folder. Set NAPARI_UPDATE_STATE to a folder.")
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".new")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(json.dumps(document).encode())
                Path(temporary).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise
        except OSError as error:
            raise StateError(f"{path} cannot be written ({error.strerror or error}). Make its folder writable.") from error

    def _remove(self, name: str) -> None:
        assert self.folder is not None
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{self.folder / name} cannot be removed ({error.strerror or error}).") from error


def environment_id(prefix: Path) -> str:
    """Return an ID of an environment: the first 16 hex digits of the SHA-256 of its real path."""
    return hashlib.sha256(str(prefix.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def parsed_duration(text: str) -> timedelta:
    """Parse ``90d``, ``12w`` or ``3m`` (30 days each). Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration. Write it like 21d, 12w or 3m")
    return timedelta(days=int(match[1]) * _DAYS[match[2]])


def _lock(file: IO[bytes]) -> None:
    """Lock a file without waiting. Raises BlockingIOError if another process holds the lock."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _file_of(snooze: Snooze) -> str:
    """Return the file of a snooze. Names and versions (PEP 503, 440) are valid file names, except ``*`` on Windows."""
    version = "every" if snooze.version == EVERY_VERSION else re.sub(r"[^0-9A-Za-z.+-]", "_", snooze.version)
    return f"said/{re.sub(r'[^0-9a-z.-]', '_', snooze.name)}=={version}.json"


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _instant(text: object) -> datetime:
    instant = datetime.fromisoformat(str(text))
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)
