"""Answers for one Python and one napari version, for clients that do not read the update table.

Plugins distinguish few versions, so most requests share an answer. Each answer is built once per index, one at a time in a
thread, with a timeout.
"""

import asyncio
import re
from bisect import bisect_right
from functools import lru_cache
from typing import Any, Literal

import msgspec
from cachetools import LRUCache
from msgspec import Struct, field
from napari_telemetry.wire import SCHEMA_VERSION
from napari_update_hook.table import Notice, TablePackage, admits, choose
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from update_server.index.files import HEADERS
from update_server.index.model import parse_version
from update_server.index.pythons import PythonVersion, UnknownPythonError
from update_server.index.snapshot import Index
from update_server.index.table import Tables
from update_server.problems import Problem
from update_server.representations import Body

MAX_BYTES = 64 * 2**20
"""Memory limit of the cache, for all encodings together."""

MAX_PENDING = 32
"""Maximum number of answers waiting to be built."""

WAIT_TIMEOUT_S = 10
RETRY_AFTER_S = 10

Kind = Literal["updates", "plugins", "extended_summary"]

_USER_AGENT = re.compile(r"\bnapari/([0-9][0-9A-Za-z.!]*)\S*.*?\bCPython/(3\.[0-9.]+(?:(?:a|b|rc)[0-9]+)?)")


class PackageUpdate(Struct, frozen=True, omit_defaults=True):
    """The answer for one package; fields as in `table.Choice`."""

    latest: str | None = field()  # always present, null if no release is compatible
    newest: str | None = None
    newest_requires_python: str | None = None
    newest_requires_napari: str | None = None
    conda_name: str | None = None
    yanked: dict[str, str] = {}
    vulnerabilities: dict[str, list[str]] = {}
    notices: list[Notice] = []
    inactive: bool = False


def package_update(package: TablePackage, python: str, napari: str | None) -> PackageUpdate:
    """Return what an environment can install of a package. Arguments as for `table.choose`."""
    choice = choose(package, python, napari)
    return PackageUpdate(
        choice.latest,
        choice.newest,
        choice.newest_requires_python,
        choice.newest_requires_napari,
        package.conda_name,
        dict(package.yanked),
        {version: list(ids) for version, ids in package.vulnerabilities.items()},
        list(package.notices),
        package.inactive,
    )


class Updates(Struct, frozen=True):
    """The answer of ``GET /api/updates``."""

    schema_version: int
    python: str
    channel: str
    index_version: str
    check_again_s: int
    packages: dict[str, PackageUpdate]


class Question(Struct, frozen=True):
    """A request for compatible versions. ``python``, ``napari`` (PEP 440): None for any version."""

    kind: Kind
    python: PythonVersion | None = None
    napari: str | None = None
    channel: str = "pypi"


@lru_cache(maxsize=256)
def versions_of_user_agent(user_agent: str) -> tuple[PythonVersion, str] | None:
    """Parse ``napari/0.6.1 runtime/python CPython/3.11.4 Linux/6.1``; a development version counts as its release."""
    match = _USER_AGENT.search(user_agent[:512])
    try:
        return (PythonVersion.parse(match[2]), Version(match[1]).base_version) if match else None
    except (UnknownPythonError, InvalidVersion):
        return None


class Answers:
    """Builds and caches the answers of one index."""

    def __init__(self, index: Index, tables: Tables) -> None:
        self._index = index
        self._tables = tables
        compatibilities = [one for channel in tables.compatibility.values() for one in channel.values()]
        self._points = sorted({point for one in compatibilities for point in one.domain.points})
        self._napari_specifiers = sorted(
            {
                alternative.requires_napari
                for one in compatibilities
                for candidate in one.candidates
                for alternative in candidate.alternatives
                if alternative.requires_napari
            }
        )
        self._ready: LRUCache[tuple[object, ...], Body] = LRUCache(MAX_BYTES, getsizeof=lambda body: body.size)
        self._build_lock = asyncio.Lock()
        self._pending: dict[tuple[object, ...], asyncio.Task[Body]] = {}

    async def get(self, question: Question) -> Body:
        """Return the answer, built if needed. Raises Problem 503 if too many are pending or the channel has no data."""
        if question.channel not in self._tables.tables:
            raise Problem(503, f"The index has no data on {question.channel} yet. Try again later.", retry_after=60)
        key = self.key(question)
        if (body := self._ready.get(key)) is not None:
            return body
        if key not in self._pending:
            if len(self._pending) >= MAX_PENDING:
                raise _busy()
            self._pending[key] = asyncio.create_task(self._make_and_cache(key, question))
        try:
            async with asyncio.timeout(WAIT_TIMEOUT_S):
                return await asyncio.shield(self._pending[key])
        except TimeoutError:
            raise _busy() from None

    async def _make_and_cache(self, key: tuple[object, ...], question: Question) -> Body:
        try:
            async with self._build_lock:
                body = self._ready[key] = await asyncio.to_thread(self.make, question)
                return body
        finally:
            del self._pending[key]

    def key(self, question: Question) -> tuple[object, ...]:
        """Return the cache key: questions with the same key have the same answer."""
        python, napari = question.python, question.napari
        return (
            question.kind,
            question.channel,
            python and (python.minor, bisect_right(self._points, python)),
            napari and tuple(number for number, one in enumerate(self._napari_specifiers) if not admits(one, napari)),
        )

    def make(self, question: Question) -> Body:
        """Build an answer. This takes a fraction of a second: call it in a thread."""
        if question.kind == "updates":
            content: Any = self._updates(question)
        elif question.kind == "plugins":
            content = self._plugins(question)
        else:
            content = self._summaries(question)
        vary = "accept-encoding" if question.kind == "updates" else VARY
        body = Body(msgspec.json.encode(content), headers=HEADERS, vary=vary)
        body.encode(quickly=True)
        return body

    def _updates(self, question: Question) -> Updates:
        table, python = self._tables.tables[question.channel], question.python
        assert python is not None
        packages = {key: package_update(one, python.full, question.napari) for key, one in table.packages.items()}
        return Updates(
            SCHEMA_VERSION, python.feature_release, table.channel, table.index_version, int(table.check_again_s), packages
        )

    def _plugins(self, question: Question) -> dict[str, str]:
        compatibility = self._tables.compatibility["pypi"]
        found = {one.name: compatibility[one.key].best(question.python, question.napari) for one in self._index.facts.packages}
        return {name: version for name, version in found.items() if version is not None}

    def _summaries(self, question: Question) -> list[dict[str, Any]]:
        """Return the summaries, limited to compatible versions."""
        on_pypi, on_conda = (self._tables.compatibility.get(channel, {}) for channel in ("pypi", "conda-forge"))
        python, napari = question.python, question.napari
        text = self._index.documents["/api/extended_summary"].text()
        cut = []
        for summary in msgspec.json.decode(text, type=list[dict[str, Any]]):
            key = canonicalize_name(str(summary.get("name")))
            version = on_pypi[key].best(python, napari) if key in on_pypi else None
            if version is not None:
                fitting = set(on_pypi[key].fitting(python, napari))
                conda = set(on_conda[key].fitting(python, napari)) if key in on_conda else set()
                summary["version"] = version
                summary["pypi_versions"] = [
                    one for one in summary.get("pypi_versions") or () if str(parse_version(one) or one) in fitting
                ]
                summary["conda_versions"] = [one for one in summary.get("conda_versions") or () if one in conda]
                cut.append(summary)
        return cut


VARY = "accept-encoding, user-agent"


def _busy() -> Problem:
    return Problem(503, "The server is busy. Try again in a few seconds.", retry_after=RETRY_AFTER_S)
