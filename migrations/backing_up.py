"""A backup of what must not be lost: public numbers with their record, the keys that sign certificates, and the index.

Raw reports are in no backup: deleted must be gone, and after 60 days all of them are.
"""

import contextlib
import shutil
import sqlite3
from pathlib import Path

SAVED = ("aggregate.sqlite3", "index.sqlite3")
KEYS = "keys"


class BackupError(Exception):
    """Why there is no backup, in a sentence."""


def back_up(data: Path, folder: Path, key_folder: Path | None = None) -> list[Path]:
    """Copy what must not be lost from a data folder into a new ``folder``, also while the service runs; return the files.

    To restore it, put the files into an empty data folder. ``key_folder``: where the keys are, if not in the data folder.
    Raises BackupError and OSError.
    """
    if not (data / SAVED[0]).exists():
        raise BackupError(f"There is no {SAVED[0]} in {data}. On PostgreSQL, use pg_dump on the aggregate store.")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise BackupError(f"{folder} is there already: name a folder that is not.") from error
    files = []
    for name in SAVED:
        if (data / name).exists():
            target = folder / name
            target.touch(mode=0o600)
            with (
                contextlib.closing(sqlite3.connect(f"{(data / name).resolve().as_uri()}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(target)) as copy,
            ):
                source.backup(copy)
                (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise BackupError(f"The copy of {name} is damaged ({verdict}), and so may be the original.")
            files.append(target)
    keys = key_folder or data / KEYS
    if keys.is_dir():
        shutil.copytree(keys, folder / KEYS)  # with its modes: nobody else may read a private key
        files += sorted(path for path in (folder / KEYS).rglob("*") if path.is_file())
    return files
