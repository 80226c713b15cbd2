"""Compare versions according to PEP 440."""

from __future__ import annotations

from functools import lru_cache

from packaging.version import InvalidVersion, Version


@lru_cache(maxsize=8192)
def parsed(text: str | None) -> Version | None:
    """Parse a version; return None if it is invalid or a number has thousands of digits."""
    try:
        return Version(text) if text else None
    except (InvalidVersion, ValueError):
        return None


def is_newer(version: str | None, than: str | None) -> bool:
    """Return whether ``version`` is newer than ``than``; False if either is invalid."""
    first, second = parsed(version), parsed(than)
    return first is not None and second is not None and first > second


def same_version(first: str | None, second: str | None) -> bool:
    """Return whether two strings are the same version, such as ``2022.01.05`` and ``2022.1.5``."""
    one, other = parsed(first), parsed(second)
    return first == second if one is None or other is None else one == other
