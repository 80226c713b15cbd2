"""Sets of Python versions.

Specifiers treat most patch releases alike, so a few *points* represent all versions: each is the first version of a range
that no specifier splits. A set of points is an integer with one bit per point.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Self

from msgspec import Struct
from napari_update_hook.table import admits, parsed_specifier
from packaging.tags import compatible_tags, cpython_tags
from packaging.version import InvalidVersion, Version

OLDEST_MINOR = 8

MINORS_AHEAD = 4
"""Number of future minor versions that the update table covers."""

NEWEST_PLAUSIBLE_MINOR = 40
"""Highest minor version that counts as named: higher bounds, such as ``<3.99``, mean "any"."""

MAX_MINOR = 99
MAX_VERSION_LENGTH = 32
MAX_SPECIFIER_LENGTH = 256

_NAMED = re.compile(r"(?<![\w.])3\.([0-9]{1,2})(?:\.([0-9]{1,4}))?")


class UnknownPythonError(ValueError):
    """The text is not a version of CPython 3."""


class PythonVersion(Struct, frozen=True, order=True, dict=True):
    """A version of CPython 3."""

    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``3.11``, ``3.11.4`` or ``3.14.0rc1`` (as 3.14.0, like pip). Raises UnknownPythonError."""
        try:
            version = Version(text if len(text) <= MAX_VERSION_LENGTH else "")
        except InvalidVersion:
            raise UnknownPythonError(f"{text[:32]!r} is not a Python version: write it like 3.11 or 3.11.4") from None
        is_plain = not version.epoch and version.local is None and version.post is None
        if not is_plain or version.major != 3 or not 2 <= len(version.release) <= 3 or version.minor > MAX_MINOR:
            raise UnknownPythonError(f"{text[:32]!r} is not a version of CPython 3: write it like 3.11 or 3.11.4")
        return cls(version.minor, version.micro)

    @property
    def feature_release(self) -> str:
        """``3.11``"""
        return f"3.{self.minor}"

    @property
    def next_patch(self) -> Self:
        return type(self)(self.minor, self.patch + 1)

    @cached_property
    def full(self) -> str:
        """``3.11.4``"""
        return f"3.{self.minor}.{self.patch}"


def named_pythons(text: str) -> Iterator[PythonVersion]:
    for minor, patch in _NAMED.findall(text):
        yield PythonVersion(int(minor), int(patch or 0))


def newest_named_minor(texts: Iterable[str]) -> int:
    minors = (python.minor for text in texts for python in named_pythons(text))
    return max((minor for minor in minors if minor <= NEWEST_PLAUSIBLE_MINOR), default=OLDEST_MINOR)


class PythonDomain:
    """The points that the specifiers in some texts distinguish, from 3.8 to ``last_minor``."""

    def __init__(self, texts: Iterable[str], last_minor: int) -> None:
        starts = {(minor, 0) for minor in range(OLDEST_MINOR, last_minor + 1)}
        for python in {python for text in texts for python in named_pythons(text)}:
            if OLDEST_MINOR <= python.minor <= last_minor:
                starts |= {(python.minor, python.patch), (python.minor, python.patch + 1)}
        self.points = [PythonVersion(*start) for start in sorted(starts)]
        self.all = (1 << len(self.points)) - 1

    def bit(self, python: PythonVersion) -> int:
        """Return the set of the point that represents a version; outside the domain, the nearest point."""
        return 1 << max(0, bisect_right(self.points, python) - 1)

    def where(self, is_in: Callable[[PythonVersion], bool]) -> int:
        return sum(1 << number for number, python in enumerate(self.points) if is_in(python))

    def admitted(self, requires_python: str | None) -> int:
        """Return the points that Requires-Python allows."""
        if not requires_python or not is_specifier(requires_python):
            return self.all
        return self.where(lambda python: admits(requires_python, python.full))

    def running(self, tags: tuple[str, ...] | None) -> int:
        """Return the points that can run a wheel with these tags; all if None."""
        return self.all if tags is None else self.where(lambda python: runs(tags, python.minor))

    def specifiers(self, pythons: int) -> list[tuple[int, str]]:
        """Split a set into contiguous parts, each with its specifier."""
        found, start = [], None
        for number in range(len(self.points) + 1):
            is_in = bool(pythons >> number & 1)
            if is_in and start is None:
                start = number
            elif not is_in and start is not None:
                found.append(((1 << number) - (1 << start), self._specifier(start, number)))
                start = None
        return found

    def _specifier(self, start: int, end: int) -> str:
        """Return the specifier for the points from ``start`` up to, but not including, ``end``."""
        lower = self.points[start]
        upper = self.points[end] if end < len(self.points) else None
        if lower.patch == 0 and upper == PythonVersion(lower.minor + 1):
            return f"==3.{lower.minor}.*"
        clauses = [f">={_short(lower)}"] if start else []
        return ",".join([*clauses, f"<{_short(upper)}"] if upper else clauses)


def _short(python: PythonVersion) -> str:
    return python.full if python.patch else python.feature_release


def is_specifier(text: str) -> bool:
    """Return whether a specifier is valid and not too long. Otherwise every Python version is allowed, as in pip."""
    return len(text) <= MAX_SPECIFIER_LENGTH and parsed_specifier(text) is not None


@lru_cache(maxsize=4096)
def runs(tags: tuple[str, ...], minor: int) -> bool:
    return not supported_pairs(minor).isdisjoint(tags)


@lru_cache(maxsize=128)
def supported_pairs(minor: int) -> frozenset[str]:
    """Return the interpreter-ABI pairs (``"cp311-abi3"``) of CPython with the GIL.

    Before 3.8, ABI tags ended in ``m`` (PEP 3149).
    """
    python = (3, minor)
    abi = f"cp3{minor}" + ("m" if minor < 8 else "")
    tags = (*cpython_tags(python, abis=[abi], platforms=["any"]), *compatible_tags(python, f"cp3{minor}", ["any"]))
    return frozenset(f"{tag.interpreter}-{tag.abi}" for tag in tags)
