"""Back up public numbers, signing keys and the index, but no raw reports: a backup would keep deleted ones."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

NUMBERS = "aggregate.sqlite3"
INDEX = "index.snapshot"
KEYS = "keys"


class BackupError(Exception):
    """The backup failed; the message says why."""


def back_up(data: Path, folder: Path, key_folder: Path | None = None) -> list[Path]:
    """Copy the data into a new ``folder``, even while the service runs; return the files.

    To restore, put the files into an empty data folder. Raises BackupError and OSError.
    """
    if not (data / NUMBERS).exists():
        raise BackupError(f"There is no {NUMBERS} in {data}. On PostgreSQL, use pg_dump on the aggregate store.")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise BackupError(f"{folder} already exists. Choose a new folder.") from error
    target = folder / NUMBERS
    target.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(f"{(data / NUMBERS).resolve().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise BackupError(f"The copy of {NUMBERS} is damaged ({verdict}); the original may be, too.")
    if (data / INDEX).exists():
        shutil.copyfile(data / INDEX, folder / INDEX)
        (folder / INDEX).chmod(0o600)
    keys = key_folder or data / KEYS
    if keys.is_dir():
        shutil.copytree(keys, folder / KEYS)  # copytree preserves modes, so private keys stay private
    return sorted(path for path in folder.rglob("*") if path.is_file())
