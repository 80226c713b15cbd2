"""How often one address may send: enough for an institute behind one address, too little to forge a crowd in an hour.

No address is kept. What is counted is an HMAC of it with a key that lives in memory and changes every day (UTC), so that
even a dump of this process says nothing about yesterday. An IPv6 network of 64 bits counts as one address, because one
subscriber has all of it.
"""

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
"""Counters that are kept; past it the oldest go, so that memory stays bounded whoever calls."""

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
        self._evict()
        for whose, times in subscribers(address):
            hashed = self._hashed(whose)
            for item in self._items:
                allowed = type(item)(item.amount * times)
                if not self._limiter.hit(allowed, self._kind, hashed):
                    resets_at = self._limiter.get_window_stats(allowed, self._kind, hashed).reset_time
                    raise Problem(
                        429,
                        "Too many requests came from your network. Nothing is lost: send it again later.",
                        retry_after=max(1, round(resets_at - time.time())),
                    )

    def _evict(self) -> None:
        """Forget those who came first, where there are too many: who makes up addresses must not free everybody."""
        counters = self._storage.storage
        if len(counters) > MOST_ADDRESSES:
            log.warning("rate_limits_evicted", kind=self._kind, counters=len(counters))
            for key in list(counters)[: MOST_ADDRESSES // 10]:
                self._storage.clear(key)

    def _hashed(self, whose: str) -> str:
        now: datetime = self._clock.now()
        if now.date() != self._day:
            self._day, self._key = now.date(), secrets.token_bytes(32)
        return hmac.new(self._key, whose.encode(), hashlib.sha256).hexdigest()[:32]


def subscribers(address: str) -> list[tuple[str, int]]:
    """Return whom an address stands for, each with how many times the limit it may use.

    Itself, or for IPv6 its network of 64 bits, and that of 48 bits, which is what a customer may get at most, ten times.
    What is no address stands for itself.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return [(address[:64], 1)]
    if isinstance(parsed, ipaddress.IPv4Address):
        return [(str(parsed), 1)]
    if parsed.ipv4_mapped is not None:
        return [(str(parsed.ipv4_mapped), 1)]
    return [(str(ipaddress.IPv6Network((parsed, bits), strict=False)), times) for bits, times in ((64, 1), (48, 10))]


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
