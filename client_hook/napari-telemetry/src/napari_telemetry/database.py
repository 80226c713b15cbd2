"""The SQLite file of `store.Store`: its tables, connection, locks and errors.

It does not use WAL, which fails on network file systems.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from napari_update_hook.errors import StateError

FILE = "telemetry.sqlite3"
APPLICATION_ID = 0x6E757074
FORMAT = 1
LOCK_TIMEOUT_S = 10.0

SCHEMA = """
CREATE TABLE consents (
    number INTEGER PRIMARY KEY, environment TEXT NOT NULL, at TEXT NOT NULL, level TEXT NOT NULL,
    schema_version INTEGER NOT NULL, service TEXT NOT NULL, until TEXT, means TEXT NOT NULL);
CREATE TABLE prompts (environment TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE secrets (environment TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE drafts (
    environment TEXT NOT NULL, week TEXT NOT NULL, consent INTEGER NOT NULL, level TEXT NOT NULL, info BLOB NOT NULL,
    version INTEGER NOT NULL, sent_version INTEGER NOT NULL, rejected TEXT, PRIMARY KEY (environment, week)) WITHOUT ROWID;
CREATE TABLE counts (
    environment TEXT NOT NULL, week TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (environment, week, kind, key)) WITHOUT ROWID;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, environment TEXT NOT NULL, service TEXT NOT NULL, server TEXT NOT NULL,
    week TEXT NOT NULL, level TEXT NOT NULL, identifier TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL,
    at TEXT NOT NULL, request TEXT NOT NULL, receipt TEXT NOT NULL, is_to_delete INTEGER NOT NULL);
CREATE TABLE weeks (
    service TEXT NOT NULL, week TEXT NOT NULL, is_first INTEGER NOT NULL, is_forgotten INTEGER NOT NULL,
    PRIMARY KEY (service, week)) WITHOUT ROWID;
CREATE TABLE backoffs (
    environment TEXT NOT NULL, service TEXT NOT NULL, set_at TEXT NOT NULL, not_before TEXT NOT NULL,
    failures INTEGER NOT NULL, reason TEXT, PRIMARY KEY (environment, service)) WITHOUT ROWID;
"""
"""``drafts.version`` counts changes. ``outbox.state``: sending, answered or lost. ``weeks``: first and forgotten weeks."""


class Database:
    """A connection shared by threads. Every method raises StateError."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder.absolute() / FILE if folder is not None else None
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._seen: Any = None
        self._lock = threading.RLock()

    @property
    def exists(self) -> bool:
        return self.path is not None and self.path.exists()

    def has_changed(self) -> bool:
        """Whether the file has changed since the last call, including changes by this process."""
        with self._lock:
            if not self.exists:
                seen: Any = None
            else:
                with self._read() as file:
                    seen = (file.execute("PRAGMA data_version").fetchone(), file.total_changes, self._inode)
            before, self._seen = self._seen, seen
            return bool(before != seen)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def check_health(self) -> None:
        """Raise StateError unless every page is readable and the file is writable."""
        if self.path is None:
            raise StateError("Nothing can be saved: this account has no home folder. Set NAPARI_UPDATE_STATE to a folder.")
        if self.exists:
            with self._read() as file:
                (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError("malformed")
                file.execute("BEGIN IMMEDIATE")
                file.execute("CREATE TABLE probe AS SELECT zeroblob(8192) AS filling")  # rolled back by `_read`

    def compact(self) -> None:
        """Remove deleted data from free pages."""
        with contextlib.suppress(StateError), self._read() as file:
            file.execute("VACUUM")

    # The connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that locks the file from its start."""
        with self._read() as file:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Lock out other threads; at the end, roll back an open transaction."""
        if self.path is None:
            self.check_health()
        with self._lock:
            try:
                yield self._get_connection()
            except StateError:
                raise
            except (sqlite3.Error, OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
                raise StateError(_explain(self.path, error)) from error
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()

    def _get_connection(self) -> sqlite3.Connection:
        assert self.path is not None
        if self._connection is not None and (not self.exists or self.path.stat().st_ino != self._inode):
            self.close()  # the file was deleted or replaced
        if self._connection is None:
            if not self.exists:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):  # opening an existing file would drop this process's locks
                    self.path.touch(mode=0o600, exist_ok=False)  # contains secrets
            connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA secure_delete = ON")
                _check_format(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection, self._inode = connection, self.path.stat().st_ino
        return self._connection


def _check_format(file: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file. Raises StateError for a file of another program or release."""
    (found,) = file.execute("PRAGMA application_id").fetchone()
    if found == 0 and file.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        file.execute("BEGIN IMMEDIATE")
        if file.execute("PRAGMA user_version").fetchone() == (0,):  # otherwise another process has created them
            for statement in filter(str.strip, SCHEMA.split(";")):
                file.execute(statement)
            file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            file.execute(f"PRAGMA user_version = {FORMAT}")
        file.execute("COMMIT")
        return
    if found != APPLICATION_ID:
        raise StateError(f"Cannot use {path}: it belongs to another program. Move it away.")
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise StateError(f"Cannot use {path}: another release wrote it. Update napari-telemetry or delete the file.")


def _is_busy(error: Exception) -> bool:
    """Whether the file is locked. Reads the message, because sqlite3 has no error codes before Python 3.11."""
    return isinstance(error, sqlite3.OperationalError) and ("lock" in str(error).lower() or "busy" in str(error).lower())


def _explain(path: Path | None, error: Exception) -> str:
    said = str(error).lower()
    if _is_busy(error):
        return f"Cannot use {path} right now: another process is using it. Try again."
    if "full" in said or getattr(error, "errno", None) == 28:
        return f"Cannot write {path}: the disk is full. Free some space; until then nothing is saved."
    if not isinstance(error, (sqlite3.OperationalError, OSError)) or "no such" in said or "decode" in said:
        return f"Cannot use {path}: it is damaged ({error}). Delete the file. To agree again: napari-telemetry consent ask"
    return (
        f"Cannot use {path}: {error}. Make its folder writable, or set NAPARI_UPDATE_STATE to a writable one. "
        "Until then nothing is saved."
    )
