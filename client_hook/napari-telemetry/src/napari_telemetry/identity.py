"""Pseudonyms that last a week: the identifier of an account, and that of an environment.

Both are HMACs with random secrets that never leave the machine. Without the secret nobody can tell that two weeks belong
together, not even from stored data of every week and every service.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

SECRET_BYTES = 32


def new_secret() -> bytes:
    """Return a fresh random secret."""
    return secrets.token_bytes(SECRET_BYTES)


def identifier(secret: bytes, service: str, week: str) -> str:
    """Return the identifier of an account at ``service`` (an origin) in ``week``: 32 hex digits."""
    return _digest(secret, service, week)[:32]


def environment_id(secret: bytes, week: str) -> str:
    """Return the pseudonym of an environment in ``week``: 8 hex digits, the same at every service."""
    return _digest(secret, week)[:8]


def _digest(secret: bytes, *parts: str) -> str:
    """HMAC-SHA256 over the parts, each behind its length, so that no two lists of parts make one message."""
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
