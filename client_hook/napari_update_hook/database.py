"""SQLite files with migrations: what both kinds of state files share.

A migration is a script; ``PRAGMA user_version`` says how many have run. (Alembic is the service's; a client that shall be
light to install has three statements to run.)
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_update_hook.errors import StateError

BUSY_TIMEOUT_S = 2.0


class StateFile:
    """One SQLite file, opened for each piece of work and closed after it, so that several processes share it.

    ``migrations``: scripts, in order. ``application_id`` tells our files from any other. Nothing is written before the first
    `change`.
    """

    def __init__(self, path: Path, application_id: int, migrations: Sequence[str]) -> None:
        self.path = path
        self._application_id = application_id
        self._migrations = migrations

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.exists()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection to read with, or None where there is no file. Raises StateError."""
        if not self.exists:
            yield None
            return
        with self.change() as connection:  # it may have to be migrated first
            yield connection

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a transaction, which ends with the block: committed, or undone by an exception.

        Makes and migrates the file where that is due. Raises StateError.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # it holds a secret: nobody else on this computer may read it
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._migrate(connection)
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"Cannot use {self.path}: {error}. Delete the file to start anew; consent is asked for again."
            ) from error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if version > len(self._migrations):
            raise StateError(
                f"Cannot use {self.path}: a newer napari-update-hook wrote it (format {version}, this one knows "
                f"{len(self._migrations)}). Upgrade it, or delete the file to start anew."
            )
        if application not in (0, self._application_id):
            raise StateError(f"Cannot use {self.path}: it is another program's file.")
        for script in self._migrations[version:]:
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
        if version < len(self._migrations):
            connection.execute(f"PRAGMA application_id = {self._application_id}")
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
