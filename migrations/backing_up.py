"""A backup of what must not be lost: public numbers with their record, the keys that sign certificates, and the index.

Raw reports are in no backup: deleted must be gone, and after 60 days all of them are.
"""

import contextlib
import shutil
import sqlite3
from pathlib import Path

NUMBERS = "aggregate.sqlite3"
INDEX = "index.snapshot"
KEYS = "keys"


class BackupError(Exception):
    """Why there is no backup, in a sentence."""


def back_up(data: Path, folder: Path, key_folder: Path | None = None) -> list[Path]:
    """Copy what must not be lost from a data folder into a new ``folder``, also while the service runs; return the files.

    To restore it, put the files into an empty data folder. ``key_folder``: where the keys are, if not in the data folder.
    Raises BackupError and OSError.
    """
    if not (data / NUMBERS).exists():
        raise BackupError(f"There is no {NUMBERS} in {data}. On PostgreSQL, use pg_dump on the aggregate store.")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise BackupError(f"{folder} exists already. Choose a new folder.") from error
    target = folder / NUMBERS
    target.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(f"{(data / NUMBERS).resolve().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise BackupError(f"The copy of {NUMBERS} is damaged ({verdict}), and so may be the original.")
    if (data / INDEX).exists():
        shutil.copyfile(data / INDEX, folder / INDEX)
        (folder / INDEX).chmod(0o600)
    keys = key_folder or data / KEYS
    if keys.is_dir():
        shutil.copytree(keys, folder / KEYS)  # with its modes: only the owner may read a private key
    return sorted(path for path in folder.rglob("*") if path.is_file())
