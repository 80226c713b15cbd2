"""How often one address may send: enough for an institute behind one address, too little to forge a crowd in an hour.

No address is kept. What is counted is an HMAC of it with a key that lives in memory and changes every day (UTC), so that
even a dump of this process says nothing about yesterday. An IPv6 network of 64 bits counts as one address, because one
subscriber has all of it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from aggregation.clock import Clock
from update_server.problems import Problem

MOST_ADDRESSES = 200_000
"""Counters that are kept; past it all begin anew, so that memory stays bounded whoever calls."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
log = structlog.get_logger()


class AddressLimits:
    """Counts requests by address. ``per_minute`` and ``per_day``: how many one address may make; 0 means any number."""

    def __init__(self, kind: str, per_minute: int, per_day: int, clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._items: list[RateLimitItem] = []
        if per_minute:
            self._items.append(RateLimitItemPerMinute(per_minute))
        if per_day:
            self._items.append(RateLimitItemPerDay(per_day))
        self._storage = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._day: date | None = None
        self._key = b""

    def check(self, address: str) -> None:
        """Count a request. Raises Problem 429 with the seconds until the next may come."""
        if not self._items:
            return
        hashed = self._hashed(address)
        if len(self._storage.storage) > MOST_ADDRESSES:
            log.warning("rate_limits_reset", kind=self._kind, addresses=len(self._storage.storage))
            self._storage.reset()
        for item in self._items:
            if not self._limiter.hit(item, self._kind, hashed):
                resets_at = self._limiter.get_window_stats(item, self._kind, hashed).reset_time
                raise Problem(
                    429,
                    "Too many requests came from your network. Nothing is lost: send it again later.",
                    retry_after=max(1, round(resets_at - time.time())),
                )

    def _hashed(self, address: str) -> str:
        now: datetime = self._clock.now()
        if now.date() != self._day:
            self._day, self._key = now.date(), secrets.token_bytes(32)
        return hmac.new(self._key, subscriber(address).encode(), hashlib.sha256).hexdigest()[:32]


def subscriber(address: str) -> str:
    """Return whom an address stands for: itself, or its network of 64 bits for IPv6; what is no address stands for itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)


def client_address(peer: str, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the address of whoever sent a request.

    ``peer``: who is connected. ``forwarded_for``: the lines of ``X-Forwarded-For``, in order. Where the peer is a trusted
    proxy, it is the last address in them that is not itself a trusted proxy; a client can write what it likes before that,
    and is not believed.
    """
    address = peer
    forwarded = [_without_port(part.strip()) for part in ",".join(forwarded_for).split(",") if part.strip()]
    while forwarded and _is_trusted(address, trusted):
        address = forwarded.pop()
    return address


def _without_port(address: str) -> str:
    """``203.0.113.7`` of ``203.0.113.7:4711``, ``2001:db8::1`` of ``[2001:db8::1]:4711``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.partition(":")
    return host if port.isdigit() else address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
