"""Today's lists, for one Python: only what that Python can install.

``?python=`` asks for them; and because an unmodified napari names its Python in its User-Agent, it gets them without asking,
so that its plugin manager offers no update that fails.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Any

import msgspec
from cachetools import LRUCache
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from update_server.index.bodies import UpdateBodies
from update_server.index.compatibility import newest_fitting, pypi_candidates
from update_server.index.conda import conda_candidates
from update_server.index.pythons import PythonVersion, UnknownPythonError
from update_server.index.snapshot import Document, Index

MOST_LISTS = 64
"""Lists that are kept: some 150 kB each."""

_USER_AGENT = re.compile(r"\bnapari/\S+.*?\bCPython/(3\.[0-9.]+(?:(?:a|b|rc)[0-9]+)?)")


@lru_cache(maxsize=256)
def python_named_by(user_agent: str) -> PythonVersion | None:
    """Return the Python that a napari names in its User-Agent: ``napari/0.6.1 runtime/python CPython/3.11.4 Linux/6.1``."""
    match = _USER_AGENT.search(user_agent[:512])
    try:
        return PythonVersion.parse(match[1]) if match else None
    except UnknownPythonError:
        return None


class FittingLists:
    """The lists of one index, made when a class of Pythons first asks for them."""

    def __init__(self, index: Index, bodies: UpdateBodies) -> None:
        self._index = index
        self._bodies = bodies
        self._lock = threading.Lock()  # lists are made in threads
        self._kept: LRUCache[tuple[str, PythonVersion, PythonVersion], Document] = LRUCache(MOST_LISTS)

    def plugins(self, python: PythonVersion) -> Document:
        """Return the newest version that fits of each listed plugin by name; those without one are left out."""
        return self._list("plugins", python)

    def extended_summary(self, python: PythonVersion) -> Document:
        """Return the summaries with ``version``, ``pypi_versions`` and ``conda_versions`` cut to what fits.

        Plugins without a version that fits are left out. Raises KeyError where the index has no summaries.
        """
        return self._list("extended_summary", python)

    def _list(self, kind: str, python: PythonVersion) -> Document:
        key = (kind, self._representative("pypi", python), self._representative("conda-forge", python))
        with self._lock:
            if (document := self._kept.get(key)) is None:
                made: Any = self._newest(python) if kind == "plugins" else self._summaries(python)
                document = self._kept[key] = Document.of(msgspec.json.encode(made))
            return document

    def _representative(self, channel: str, python: PythonVersion) -> PythonVersion:
        bodies = self._bodies.channels.get(channel)
        cls = bodies.classes.of(python) if bodies else None
        return cls.representative if cls else PythonVersion(python.minor)

    def _newest(self, python: PythonVersion) -> dict[str, str]:
        classes = self._bodies.classes_for("pypi", python)
        cls = classes.of(python)
        assert cls is not None
        newest = {}
        for package in self._index.facts.packages:
            answer = newest_fitting(pypi_candidates(package, classes), classes)[cls.bit]
            if answer is not None:
                newest[package.name] = answer.version
        return newest

    def _summaries(self, python: PythonVersion) -> list[dict[str, Any]]:
        summaries = msgspec.json.decode(self._index.documents["/api/extended_summary"].text(), type=list[dict[str, Any]])
        newest = {canonicalize_name(name): version for name, version in self._newest(python).items()}
        on_pypi, on_conda = self._fitting_on_pypi(python), self._fitting_on_conda(python)
        cut = []
        for summary in summaries:
            key = canonicalize_name(summary["name"])
            if key in newest:
                cut.append(
                    summary
                    | {
                        "version": newest[key],
                        "pypi_versions": [text for text in summary.get("pypi_versions") or () if _normal(text) in on_pypi[key]],
                        "conda_versions": [
                            text for text in summary.get("conda_versions") or () if text in on_conda.get(key, ())
                        ],
                    }
                )
        return cut

    def _fitting_on_pypi(self, python: PythonVersion) -> dict[str, set[str]]:
        classes = self._bodies.classes_for("pypi", python)
        cls = classes.of(python)
        assert cls is not None
        return {
            package.key: {item.version for item in pypi_candidates(package, classes) if item.fits >> cls.bit & 1}
            for package in self._index.facts.packages
        }

    def _fitting_on_conda(self, python: PythonVersion) -> dict[str, set[str]]:
        if not self._index.facts.has_conda:
            return {}
        classes = self._bodies.classes_for("conda-forge", python)
        cls = classes.of(python)
        assert cls is not None
        return {
            package.key: {item.version for item in conda_candidates(package.conda, classes) if item.fits >> cls.bit & 1}
            for package in self._index.facts.packages
            if package.conda
        }


def _normal(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return text
