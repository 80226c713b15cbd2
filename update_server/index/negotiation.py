"""Which of the prepared representations does a client take?"""

from __future__ import annotations

from functools import lru_cache
from typing import AnyStr


@lru_cache(maxsize=256)
def accepted_encodings(header: str) -> frozenset[str]:
    """Return the content codings that an Accept-Encoding header allows (RFC 9110, 12.5.3); ``*`` stands for the rest.

    Refused ones (``q=0``) are left out; identity is always understood.
    """
    accepted = set()
    for item in header.lower().split(","):
        coding, _, parameters = item.strip().partition(";")
        weight = parameters.strip().removeprefix("q=").strip()
        if coding and not (weight and _is_zero(weight)):
            accepted.add(coding.strip())
    return frozenset(accepted)


def _is_zero(weight: str) -> bool:
    try:
        return float(weight) == 0
    except ValueError:
        return False


def matches(etag: AnyStr, if_none_match: AnyStr) -> bool:
    """Tell whether an If-None-Match header names a body by its ETag, in whichever encoding it was sent."""
    return etag in if_none_match or if_none_match.strip() in ("*", b"*")
