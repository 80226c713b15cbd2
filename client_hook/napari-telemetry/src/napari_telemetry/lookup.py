"""Asks a server for the update table, and answers from the cache when the server can't be asked.

The table is one file, the same for everybody, so the request says nothing about this computer. It is never conditional: a
server that gave each client a table of its own would recognize it by the ETag. Today's plugin index has no table and knows only
the newest versions; it is used for what it knows. Every answer is kept, and comes back with its age where the server can't be
reached or its answer can't be read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from msgspec import Struct
from napari_update_hook.table import read_table
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from napari_telemetry.environment import Environment
from napari_telemetry.errors import (
    ServerAnswerError,
    ServerUnreachableError,
    StateBusyError,
    StateError,
    UpdateHookError,
)
from napari_telemetry.facts import is_final
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import CachedAnswer, ClientStore
from napari_telemetry.transport import Transport, decoded
from napari_telemetry.wire import PackageUpdate, package_update

DAY_S = 86400.0


@dataclass(frozen=True)
class IndexAnswer:
    """What a server says, for this environment.

    ``packages`` by normalized name. ``fits_known``: False where the server can't say what fits. ``failure``: why this is an
    answer from the cache, None where the server gave it just now. ``notice``: what people should know about it.
    """

    packages: Mapping[str, PackageUpdate]
    index_version: str | None
    fetched_at: datetime
    check_again_s: float = DAY_S
    fits_known: bool = True
    failure: UpdateHookError | None = None
    notice: str | None = None


class _SummaryItem(Struct):
    """What today's index knows of a project."""

    name: str
    version: str = ""
    pypi_versions: list[str] = []
    conda_versions: list[str] = []


Read = Callable[[bytes, datetime], IndexAnswer]


class IndexClient:
    """Looks up what is new for one environment, with the cache in ``store``.

    A check goes on without a cache that can't be read. ``must_read``: raise StateBusyError instead where another process uses
    it, because a locked cache is not an empty cache.
    """

    def __init__(
        self, settings: ClientSettings, store: ClientStore, environment: Environment, *, must_read: bool = False
    ) -> None:
        self._must_read = must_read
        self._settings = settings
        self._store = store
        self._environment = environment
        napari = environment.distributions.get("napari")
        is_released = napari is not None and not napari.is_local and is_final(napari.version)
        self._napari = napari.version if napari is not None and is_released else None
        self._table_url = self._url_of(environment.channel)
        self._summary_url = f"{settings.server}/api/extended_summary"
        self._conda_url = f"{settings.server}/api/conda-map"

    def _url_of(self, channel: str) -> str:
        return f"{self._settings.server}/api/updates/{channel}.json"

    def cached(self) -> IndexAnswer | None:
        """Return what the last check was answered, without any request; None where there was none."""
        for key, read in ((self._table_url, self._read_table), (self._summary_url, self._read_summary)):
            if (cached := self._cached(key)) is not None:
                with contextlib.suppress(ServerAnswerError):
                    return self._with_pypi(read(cached.body, cached.fetched_at), None)
        return None

    def ask(self, transport: Transport) -> IndexAnswer:
        """Fetch the table, or answer from the cache. Raises ServerUnreachableError or ServerAnswerError where neither helps."""
        try:
            try:
                answer = self._kept(self._table_url, transport.get(self._table_url).body or b"", self._read_table)
                return self._with_pypi(answer, transport)
            except ServerAnswerError as error:
                if error.status != 404:
                    raise
            body = self._summary(transport)
            self._learn_conda_names(transport)
            return self._kept(self._summary_url, body, self._read_summary)
        except (ServerAnswerError, ServerUnreachableError) as error:
            cached = self.cached()
            if cached is None:
                raise
            notice = f"{error} This is the answer of {cached.fetched_at:%Y-%m-%d %H:%M} UTC."
            return replace(cached, failure=error, notice=notice)

    def _summary(self, transport: Transport) -> bytes:
        """Fetch the list of today's index, which has no table. Raises ServerUnreachableError or ServerAnswerError."""
        try:
            return transport.get(self._summary_url).body or b""
        except ServerAnswerError as error:
            if error.status != 404:
                raise
            raise ServerAnswerError(f"There is no plugin index at {self._settings.server}.", 404) from error

    def _with_pypi(self, answer: IndexAnswer, transport: Transport | None) -> IndexAnswer:
        """In a conda environment, look up what pip installed there in PyPI's table.

        That is a second request; where it fails, the first has to do. ``transport``: None to use only the cache.
        """
        by_pip = {
            key
            for key, distribution in self._environment.distributions.items()
            if not distribution.is_local and distribution.installer in ("pip", "uv")
        }
        if self._environment.channel == "pypi" or not answer.fits_known or not by_pip:
            return answer
        url = self._url_of("pypi")
        with contextlib.suppress(UpdateHookError):
            if transport is not None:
                on_pypi = self._kept(url, transport.get(url).body or b"", self._read_table)
            elif (cached := self._cached(url)) is not None:
                on_pypi = self._read_table(cached.body, cached.fetched_at)
            else:
                return answer
            return replace(
                answer,
                packages={**answer.packages, **{key: on_pypi.packages[key] for key in by_pip & set(on_pypi.packages)}},
            )
        return answer

    def _read_table(self, body: bytes, fetched_at: datetime) -> IndexAnswer:
        try:
            table = read_table(body)
        except ValueError as error:
            raise ServerAnswerError(f"{self._settings.server} gave an answer that can't be read: {error}", 200) from error
        installed = self._environment.distributions
        packages = {  # only what is installed is compared
            key: package_update(package, self._environment.python, self._napari) if key in installed else PackageUpdate(None)
            for key, package in table.packages.items()
        }
        return IndexAnswer(packages, table.index_version, fetched_at, table.check_again_s)

    def _read_summary(self, body: bytes, fetched_at: datetime) -> IndexAnswer:
        items: list[_SummaryItem] = decoded(body, list[_SummaryItem], self._settings.server)
        from_conda = self._environment.channel == "conda-forge"
        newest = {
            str(canonicalize_name(item.name)): _newest(item.conda_versions) if from_conda else (item.version or None)
            for item in items
        }
        conda_names = self._conda_names()
        packages = {
            name: PackageUpdate(latest=version, conda_name=conda_names.get(name)) for name, version in newest.items() if version
        }
        unknown = [
            f"which of them your Python {self._environment.python_minor} can install",
            "which releases were withdrawn or are vulnerable",
        ]
        if "napari" not in packages:
            unknown.append("whether there is a new napari")
        notice = f"{self._settings.server} knows the newest version of each plugin. It cannot know {', nor '.join(unknown)}."
        return IndexAnswer(packages, None, fetched_at, fits_known=False, notice=notice)

    def _learn_conda_names(self, transport: Transport) -> None:
        """Keep what conda-forge calls each project: today's index has that in a list of its own."""
        if self._environment.channel == "conda-forge":
            with contextlib.suppress(UpdateHookError):
                body = transport.get(self._conda_url).body or b""
                decoded(body, dict[str, str | None], self._settings.server)
                self._store.answers.keep(self._conda_url, CachedAnswer(self._settings.now(), body))

    def _conda_names(self) -> dict[str, str]:
        """Conda-forge's names by normalized name, where they differ: the list says ``conda-forge/micro_sam``."""
        cached = self._cached(self._conda_url)
        if cached is None:
            return {}
        known: dict[str, str | None] = decoded(cached.body, dict[str, str | None], self._settings.server)
        named = {str(canonicalize_name(name)): (path or "").rpartition("/")[2] for name, path in known.items()}
        return {key: name for key, name in named.items() if name and name != key}

    def _kept(self, key: str, body: bytes, read: Read) -> IndexAnswer:
        """Read an answer, and keep it for the next check."""
        now = self._settings.now()
        answer = read(body, now)
        try:
            self._store.answers.keep(key, CachedAnswer(now, body))
        except StateError as error:
            return replace(answer, notice=" ".join(filter(None, (answer.notice, str(error)))))
        return answer

    def _cached(self, key: str) -> CachedAnswer | None:
        try:
            return self._store.answers.cached(key)
        except StateError as error:
            if self._must_read and isinstance(error, StateBusyError):
                raise
            return None


def _newest(versions: list[str]) -> str | None:
    """The newest of some versions by PEP 440, final ones first; versions that can't be read are ignored."""
    parsed = []
    for text in versions:
        try:
            parsed.append(Version(text))
        except InvalidVersion:
            continue
    final = [version for version in parsed if not version.is_prerelease]
    return str(max(final or parsed)) if parsed else None
