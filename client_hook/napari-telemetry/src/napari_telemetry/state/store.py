"""All state of one environment and of the account that it belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_telemetry.state.answers import Answers
from napari_telemetry.state.consents import Consents
from napari_telemetry.state.database import StateFile
from napari_telemetry.state.drafts import Drafts
from napari_telemetry.state.migrations import ACCOUNT_FILE, ACCOUNT_MIGRATIONS, ENVIRONMENT_FILE, ENVIRONMENT_MIGRATIONS
from napari_telemetry.state.sendings import Sendings


def environment_name(prefix: Path) -> str:
    """Return the file name for a Python environment: the first 16 hex digits of the SHA-256 of its real path."""
    return hashlib.sha256(str(prefix.resolve()).encode()).hexdigest()[:16]


class ClientStore:
    """What is remembered, by subject. ``folder``: where both files lie. ``environment``: the name of the environment's file."""

    def __init__(self, folder: Path, environment: str) -> None:
        self.environment = environment
        self._folder = folder
        self._own = environment_file(folder / "environments" / f"{environment}.sqlite3")
        self._account = StateFile(folder / "account.sqlite3", ACCOUNT_FILE, ACCOUNT_MIGRATIONS)
        self.consents = Consents(self._own, self._account, environment)
        self.drafts = Drafts(self._own)
        self.sendings = Sendings(self._own, self._account, environment)
        self.answers = Answers(self._own)

    @property
    def files(self) -> tuple[StateFile, StateFile]:
        """This environment's file and the account's."""
        return self._own, self._account

    def environment_files(self) -> list[StateFile]:
        """Return the files of every environment of the account."""
        return [environment_file(path) for path in sorted((self._folder / "environments").glob("*.sqlite3"))]


def environment_file(path: Path) -> StateFile:
    """Return the state file of an environment."""
    return StateFile(path, ENVIRONMENT_FILE, ENVIRONMENT_MIGRATIONS)
