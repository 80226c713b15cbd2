"""Which Pythons must be told apart?

Nearly all versions of a minor are treated alike by every specifier of the index, so that a handful of *compatibility
classes* stands for every Python there is. A class has one answer, prepared once. Sets of classes are integers, one bit each:
that makes "which Pythons does this file admit" one cached number, and the whole index a few thousand ANDs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import chain, groupby

from msgspec import Struct
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.version import InvalidVersion, Version

MINORS = range(0, 100)
"""Minors of CPython 3 that may be asked for."""

FIRST_PREPARED_MINOR = 6
LONGEST_VERSION = 32
LONGEST_SPECIFIER = 1024


class UnknownPythonError(ValueError):
    """A text that is no version of CPython 3."""


class PythonVersion(Struct, frozen=True, order=True, dict=True):
    """CPython 3.``minor``.``patch``."""

    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> PythonVersion:
        """Read ``3.11``, ``3.11.4`` or ``3.14.0rc1``; the last is 3.14.0, as for pip. Raises UnknownPythonError."""
        try:
            version = Version(text if len(text) <= LONGEST_VERSION else "")
        except InvalidVersion:
            raise UnknownPythonError(f"{text[:32]!r} is no Python version: write it like 3.11 or 3.11.4") from None
        is_plain = not version.epoch and version.local is None and version.post is None
        if not is_plain or version.major != 3 or not 2 <= len(version.release) <= 3 or version.minor not in MINORS:
            raise UnknownPythonError(f"{text[:32]!r} is no version of CPython 3: write it like 3.11 or 3.11.4")
        return cls(version.minor, version.micro)

    @property
    def feature_release(self) -> str:
        """``3.11``"""
        return f"3.{self.minor}"

    @cached_property
    def full(self) -> Version:
        """``3.11.4``"""
        return Version(f"3.{self.minor}.{self.patch}")


class PythonClass(Struct, frozen=True):
    """Versions of one minor that no specifier tells apart; ``representative`` is the lowest of them."""

    representative: PythonVersion
    bit: int


class Rule(Struct, frozen=True):
    """A text of the index that admits some Pythons: a Requires-Python, or a match specification of conda.

    ``named``: the versions at which it may change its mind.
    """

    admits: Callable[[PythonVersion], bool]
    named: tuple[PythonVersion, ...] = ()


class PythonClasses:
    """The classes of some minors under the rules of one channel.

    ``rules``: all texts that can decide an answer, with what they mean. ``minors``: those that are of interest.
    """

    def __init__(self, rules: Mapping[str, Rule], minors: Iterable[int]) -> None:
        boundaries: dict[int, set[int]] = {minor: {0} for minor in minors}
        for python in chain.from_iterable(rule.named for rule in rules.values()):
            if python.minor in boundaries:
                boundaries[python.minor] |= {python.patch, python.patch + 1}
        self.classes: list[PythonClass] = []
        self._starts: dict[int, tuple[list[int], list[PythonClass]]] = {}
        self._admitted = dict.fromkeys(rules, 0)
        for minor, patches in boundaries.items():
            self._add_minor(minor, sorted(patches), rules)
        self.all = (1 << len(self.classes)) - 1
        self._running: dict[tuple[str, ...], int] = {}
        self._pairs = [supported_pairs(cls.representative.minor) for cls in self.classes]

    def _add_minor(self, minor: int, patches: list[int], rules: Mapping[str, Rule]) -> None:
        classes: list[PythonClass] = []
        seen: dict[tuple[bool, ...], PythonClass] = {}
        for patch in patches:
            python = PythonVersion(minor, patch)
            treated = tuple(rule.admits(python) for rule in rules.values())
            if treated not in seen:
                seen[treated] = PythonClass(python, len(self.classes))
                self.classes.append(seen[treated])
                for text, admitted in zip(rules, treated, strict=True):
                    self._admitted[text] |= admitted << seen[treated].bit
            classes.append(seen[treated])
        self._starts[minor] = (patches, classes)

    def of(self, python: PythonVersion) -> PythonClass | None:
        """Return the class of a version, or None if its minor is not among those of interest."""
        if python.minor not in self._starts:
            return None
        starts, classes = self._starts[python.minor]
        return classes[bisect_right(starts, python.patch) - 1]

    def admitted_by(self, text: str | None) -> int:
        """Return the set of classes that a rule admits. No rule admits all."""
        return self.all if text is None else self._admitted[text]

    def where(self, holds: Callable[[PythonVersion], bool]) -> int:
        """Return the set of classes whose representative ``holds``."""
        return sum(1 << cls.bit for cls in self.classes if holds(cls.representative))

    def running(self, tags: tuple[str, ...] | None) -> int:
        """Return the set of classes that can run a wheel of these interpreter-ABI pairs on some platform; all for None."""
        if tags is None:
            return self.all
        if tags not in self._running:
            self._running[tags] = sum(1 << bit for bit, pairs in enumerate(self._pairs) if not pairs.isdisjoint(tags))
        return self._running[tags]

    def in_words(self, fits: int) -> str:
        """Return a set of classes as specifiers, one for each run of minors: ``>=3.8,<3.11 or ==3.13.*``."""
        fitting = {cls.representative.minor for cls in self.classes if fits >> cls.bit & 1}
        runs = [list(run) for does_fit, run in groupby(sorted(self._starts), fitting.__contains__) if does_fit]
        return " or ".join(self._run_in_words(run) for run in runs)

    def _run_in_words(self, run: list[int]) -> str:
        if run[-1] == max(self._starts):
            return f">=3.{run[0]}"
        return f"==3.{run[0]}.*" if len(run) == 1 else f">=3.{run[0]},<3.{run[-1] + 1}"


def requires_python_rules(texts: Iterable[str]) -> dict[str, Rule]:
    """Return what each Requires-Python means. What is no specifier admits everything, as pip has it."""
    return {text: _requires_python_rule(text) for text in sorted(set(texts))}


def is_specifier(text: str) -> bool:
    """Tell whether a Requires-Python can be read. Numbers of thousands of digits are nothing that pip could read either."""
    try:
        return len(text) <= LONGEST_SPECIFIER and SpecifierSet(text) is not None
    except InvalidSpecifier:
        return False


def _requires_python_rule(text: str) -> Rule:
    if not is_specifier(text):
        return Rule(lambda _: True)
    specifier = SpecifierSet(text, prereleases=True)
    return Rule(lambda python: python.full in specifier, tuple(_named_by(specifier)))


def supported_pairs(minor: int) -> frozenset[str]:
    """Return the interpreter-ABI pairs (``"cp311-abi3"``) that CPython 3.``minor`` runs on some platform.

    Of the build with the GIL: that is what ``python=3.13`` means. Up to 3.7 its ABI had an ``m`` (PEP 3149).
    """
    python = (3, minor)
    abi = f"cp3{minor}" + ("m" if minor < 8 else "")
    tags = (*cpython_tags(python, abis=[abi], platforms=["any"]), *compatible_tags(python, f"cp3{minor}", ["any"]))
    return frozenset(f"{tag.interpreter}-{tag.abi}" for tag in tags)


def _named_by(specifier_set: SpecifierSet) -> Iterable[PythonVersion]:
    for specifier in specifier_set:
        try:
            version = Version(specifier.version.removesuffix(".*"))
        except InvalidVersion:  # of an arbitrary equality, ``===``
            continue
        if version.major == 3 and len(version.release) > 1:
            yield PythonVersion(version.minor, version.micro)
