"""Versions by PEP 440, as far as they can be read."""

from __future__ import annotations

from functools import lru_cache

from packaging.version import InvalidVersion, Version


@lru_cache(maxsize=8192)
def parsed(text: str | None) -> Version | None:
    """Return a version, None for what is not one (also numbers of thousands of digits)."""
    try:
        return Version(text) if text else None
    except (InvalidVersion, ValueError):
        return None


def is_newer(version: str | None, than: str | None) -> bool:
    """Whether one version is newer than another; False where either cannot be read."""
    first, second = parsed(version), parsed(than)
    return first is not None and second is not None and first > second


def same_version(first: str | None, second: str | None) -> bool:
    """Whether two texts are one version: ``2022.01.05`` is ``2022.1.5``."""
    one, other = parsed(first), parsed(second)
    return first == second if one is None or other is None else one == other
