"""Asking a server what is new, and what is known when it can't be asked.

The service answers for one Python and one channel. Today's plugin index knows the newest versions alone; it is used for
what it knows. Every answer is kept, and comes back with its age where the server can't be reached or talks nonsense.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from msgspec import Struct
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from napari_update_hook.environment import Environment
from napari_update_hook.errors import (
    ServerAnswerError,
    ServerUnreachableError,
    StateBusyError,
    StateError,
    UpdateHookError,
)
from napari_update_hook.facts import is_final
from napari_update_hook.settings import ClientSettings
from napari_update_hook.state import CachedAnswer, ClientStore
from napari_update_hook.transport import Transport, decoded
from napari_update_hook.wire import PackageUpdate, Updates

DAY_S = 86400.0


@dataclass(frozen=True)
class Found:
    """An answer to compare with, and where it came from.

    ``packages`` by normalized name. ``fits_known``: False where the server can't tell what fits. ``failure``: why this is
    an answer from before, None where the server gave it just now. ``notice``: what people should know about it.
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


Read = Callable[[bytes, datetime], Found]


class Lookup:
    """Looks up what is new for one environment, with the cache in ``store``.

    A check goes on without a cache that can't be read. ``must_read``: raise StateBusyError instead where another process uses
    it, because what can't be read is not what is not there.
    """

    def __init__(
        self, settings: ClientSettings, store: ClientStore, environment: Environment, *, must_read: bool = False
    ) -> None:
        self._must_read = must_read
        self._settings = settings
        self._store = store
        self._environment = environment
        napari = environment.distributions.get("napari")
        self.query = {"python": environment.python, "channel": environment.channel}
        if napari is not None and not napari.is_local and is_final(napari.version):
            self.query["napari"] = napari.version  # a development version could be one of a kind
        self._url = f"{settings.server}/api/updates"
        self._key = f"{self._url}?{urlencode(self.query)}"
        self._summary_url = f"{settings.server}/api/extended_summary"
        self._conda_url = f"{settings.server}/api/conda"

    def known_etag(self) -> str | None:
        """Return the ETag of the answer that is cached, None where there is none."""
        cached = self._cached(self._key)
        return cached.etag if cached else None

    def before(self) -> Found | None:
        """Return what the last check was answered, without any request; None where there was none."""
        for key, read in ((self._key, self._read_updates), (self._summary_url, self._read_summary)):
            if (cached := self._cached(key)) is not None:
                with contextlib.suppress(ServerAnswerError):
                    return self.with_pypi(read(cached.body, cached.fetched_at), None)
        return None

    def ask(self, transport: Transport) -> Found:
        """Ask with one GET that says Python, channel and a released napari, or return what is known from before.

        Raises ServerUnreachableError or ServerAnswerError where neither helps.
        """
        try:
            try:
                return self._asked(transport)
            except ServerAnswerError as error:
                if error.status != 404:
                    raise
            answer = transport.get(self._summary_url)  # it is today's index
            self._learn_conda_names(transport)
            return self._kept(self._summary_url, answer.body or b"", self._read_summary)
        except (ServerAnswerError, ServerUnreachableError) as error:
            found = self.before()
            if found is None:
                raise
            notice = f"{error} This is the answer of {found.fetched_at:%Y-%m-%d %H:%M} UTC."
            return replace(found, failure=error, notice=notice)

    def from_receipt(self, updates: bytes | None) -> Found | None:
        """Return the answer that came with a receipt, or the cached one where that is still true; None where it is no use."""
        cached = self._cached(self._key)
        body = updates if updates is not None else (cached.body if cached else None)
        if body is None:
            return None
        try:
            return self._kept(self._key, body, self._read_updates)
        except ServerAnswerError:
            return None

    def with_pypi(self, found: Found, transport: Transport | None) -> Found:
        """In a conda environment, look up what pip installed there on PyPI: conda-forge may not know it, or another version.

        A second request, because one answer covers one channel; where it fails, the first has to do. ``transport``: None to
        use the cache alone.
        """
        by_pip = {
            key
            for key, distribution in self._environment.distributions.items()
            if not distribution.is_local and distribution.installer in ("pip", "uv")
        }
        if self._environment.channel == "pypi" or not found.fits_known or not by_pip:
            return found
        query = self.query | {"channel": "pypi"}
        key = f"{self._url}/on-pypi?{urlencode(query)}"  # a name of its own in the cache
        cached = self._cached(key)
        body = cached.body if cached else None
        with contextlib.suppress(UpdateHookError):
            if transport is not None:
                body = transport.get(self._url, etag=cached.etag if cached else None, query=query).body or body
                if body is not None:
                    self._store.answers.keep(key, CachedAnswer(self._settings.now(), body))
        if body is None:
            return found
        try:
            on_pypi: Updates = decoded(body, Updates, self._settings.server)
        except ServerAnswerError:
            return found
        return replace(
            found, packages={**found.packages, **{key: on_pypi.packages[key] for key in by_pip & set(on_pypi.packages)}}
        )

    def _asked(self, transport: Transport) -> Found:
        cached = self._cached(self._key)
        answer = transport.get(self._url, etag=cached.etag if cached else None, query=self.query)
        if answer.body is None and cached is None:
            raise ServerAnswerError(f"{self._settings.server} says that nothing has changed, but nothing was known.", 304)
        body = cached.body if answer.body is None and cached else answer.body or b""
        return self._kept(self._key, body, self._read_updates)

    def _read_updates(self, body: bytes, fetched_at: datetime) -> Found:
        updates: Updates = decoded(body, Updates, self._settings.server)
        return Found(updates.packages, updates.index_version, fetched_at, updates.check_again_s)

    def _read_summary(self, body: bytes, fetched_at: datetime) -> Found:
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
        return Found(packages, None, fetched_at, fits_known=False, notice=notice)

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

    def _kept(self, key: str, body: bytes, read: Read) -> Found:
        """Read an answer, and keep it for the next check."""
        now = self._settings.now()
        found = read(body, now)
        try:
            self._store.answers.keep(key, CachedAnswer(now, body))
        except StateError as error:
            return replace(found, notice=" ".join(filter(None, (found.notice, str(error)))))
        return found

    def _cached(self, key: str) -> CachedAnswer | None:
        try:
            return self._store.answers.cached(key)
        except StateError as error:
            if self._must_read and isinstance(error, StateBusyError):
                raise
            return None


def _newest(versions: list[str]) -> str | None:
    """The newest of some versions by PEP 440, final ones first; what can't be read counts for nothing."""
    parsed = []
    for text in versions:
        try:
            parsed.append(Version(text))
        except InvalidVersion:
            continue
    final = [version for version in parsed if not version.is_prerelease]
    return str(max(final or parsed)) if parsed else None
