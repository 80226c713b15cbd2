"""SQLite files with migrations: what both kinds of state files share.

A migration is a script; ``PRAGMA user_version`` says how many have run. (Alembic is the service's; a client that shall be
light to install has a handful of statements to run.) The journal stays the one that SQLite has by default: a write-ahead log
does not work on network file systems, where many home folders lie, and buys nothing for a few rows.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from napari_telemetry.errors import StateBusyError, StateError

BUSY_TIMEOUT_S = 1.0


class StateFile:
    """One SQLite file, opened for each piece of work and closed after it, so that several processes share it.

    ``migrations``: scripts, in order. ``application_id`` tells our files from any other. Nothing is written before the first
    `change`, and a `read` of an existing file needs no right to write.
    """

    def __init__(self, path: Path, application_id: int, migrations: Sequence[str]) -> None:
        self.path = path.absolute()
        self._application_id = application_id
        self._migrations = migrations

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.exists()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection to read one consistent state with, or None where there is no file. Raises StateError."""
        if not self.exists:
            yield None
            return
        connection = self._opened_to_read()
        if connection is None:  # to be migrated, or left half written by a kill: both need to write
            with self.change() as writable:
                yield writable
            return
        with contextlib.closing(connection), self._errors_explained():
            yield connection

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction, which ends with the block: committed, or undone by an exception.

        Makes and migrates the file where that is due. Raises StateError.
        """
        with self._errors_explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # it holds a secret: nobody else on this computer may read it
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._migrate(connection)
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:  # a full disk may have undone it already
                        connection.execute("ROLLBACK")
                    raise

    def compact(self) -> None:
        """Write the file anew, so that nothing deleted is left in the free space of its pages. Raises StateError."""
        with (
            self._errors_explained(),
            contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection,
        ):
            connection.execute("VACUUM")

    def examine(self) -> None:
        """Raise StateError, with what to do about it, unless the file can be read and written.

        Every page is looked at, and a write is begun and taken back, which is how a full disk or a missing right shows. A file
        that is not there is not made; then its folder must be one where it could be.
        """
        if not self.exists:
            self._explain_missing_folder()
            return
        with self.read() as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0] if connection else "ok"
            if verdict != "ok":
                raise StateError(_explained(self.path, sqlite3.DatabaseError("malformed")))
        self._rehearse_writing()

    def _rehearse_writing(self) -> None:
        with (
            self._errors_explained(),
            contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection,
        ):
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute("CREATE TABLE rehearsal AS SELECT zeroblob(8192) AS filling")
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("ROLLBACK")

    def _explain_missing_folder(self) -> None:
        folder = next(parent for parent in self.path.parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StateError(_explained(self.path, PermissionError(f"{folder} can't be written to")))

    def _opened_to_read(self) -> sqlite3.Connection | None:
        """A connection in a read transaction, or None where reading needs writing first."""
        with self._errors_explained():
            try:
                connection = sqlite3.connect(
                    f"{self.path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
                )
            except sqlite3.OperationalError:
                return None
            try:
                connection.execute("BEGIN")
                if self._version_of(connection) == len(self._migrations):
                    return connection
            except sqlite3.OperationalError as error:
                if "lock" in str(error):  # busy is no reason to ask for more
                    connection.close()
                    raise
            except BaseException:
                connection.close()
                raise
            connection.close()
            return None

    def _version_of(self, connection: sqlite3.Connection) -> int:
        """How many migrations the file has seen. Raises StateError for a file that is not ours, or of a newer release."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application not in (0, self._application_id):
            raise StateError(f"Cannot use {self.path}: it is another program's file. Move it away.")
        if version > len(self._migrations):
            raise StateError(
                f"Cannot use {self.path}: a newer napari-telemetry wrote it (format {version}, this one knows "
                f"{len(self._migrations)}). Upgrade it, or delete the file to start anew."
            )
        return int(version)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = self._version_of(connection)
        for script in self._migrations[version:]:
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
        if version < len(self._migrations):
            connection.execute(f"PRAGMA application_id = {self._application_id}")
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, msgspec.MsgspecError) as error:  # or what it holds is no sense
            kind = StateBusyError if _is_busy(error) else StateError
            raise kind(_explained(self.path, error)) from error


def _is_busy(error: Exception) -> bool:
    """Whether somebody else uses the file. SQLite has no codes for it before Python 3.11, so its words decide."""
    return isinstance(error, sqlite3.OperationalError) and ("lock" in str(error).lower() or "busy" in str(error).lower())


def _explained(path: Path, error: Exception) -> str:
    """Say what happened to a file, and what to do, from SQLite's words."""
    said = str(error).lower()
    if _is_busy(error):
        return f"Cannot use {path} right now: another process is using it. Try again."
    if "full" in said or getattr(error, "errno", None) == 28:
        return f"Cannot write {path}: the disk is full. Free some space; until then nothing is counted or remembered."
    is_damaged = not isinstance(error, (sqlite3.OperationalError, OSError)) or "no such" in said or "decode" in said
    if is_damaged:
        return (
            f"Cannot use {path}: it is damaged ({error}). Delete the file to start anew; then agree again, if you like: "
            "napari-telemetry consent ask"
        )
    return (
        f"Cannot use {path}: {error}. Make its folder writable, or set NAPARI_UPDATE_STATE to one that is. "
        "Until then nothing is counted or remembered."
    )
