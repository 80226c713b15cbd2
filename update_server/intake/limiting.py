"""Rate limits per address: enough for an institute behind one address, too few to forge a crowd in an hour.

Addresses are not kept. Counters are keyed by an HMAC with a daily in-memory key, so a memory dump reveals nothing about
yesterday. An IPv6 /64 counts as one address: one subscriber has all of it.
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

MAX_COUNTERS = 200_000
"""Maximum number of counters. Beyond it the oldest are evicted, which bounds the memory."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
log = structlog.get_logger()


class AddressLimits:
    """``per_minute``, ``per_day``: limits per address; 0 for none."""

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
        """Count a request. Raises Problem 429 with the seconds to wait."""
        if not self._items:
            return
        self._evict()
        for whose, times in rate_limit_keys(address):
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
        """Evict the oldest counters: a flood of fake addresses must not reset everyone's limits."""
        counters = self._storage.storage
        if len(counters) > MAX_COUNTERS:
            log.warning("rate_limits_evicted", kind=self._kind, counters=len(counters))
            for key in list(counters)[: MAX_COUNTERS // 10]:
                self._storage.clear(key)

    def _hashed(self, whose: str) -> str:
        now: datetime = self._clock.now()
        if now.date() != self._day:
            self._day, self._key = now.date(), secrets.token_bytes(32)
        return hmac.new(self._key, whose.encode(), hashlib.sha256).hexdigest()[:32]


def rate_limit_keys(address: str) -> list[tuple[str, int]]:
    """Return the rate-limit keys of an address, with multipliers of the limit.

    An IPv6 address has two: its /64, and with ten times the limit its /48, the most that a customer usually gets.
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
    """Return the client's address: behind trusted proxies the last one that is not a trusted proxy.

    Earlier entries of ``X-Forwarded-For`` may be forged by the client.
    """
    address = peer
    forwarded = [_without_port(part.strip()) for part in ",".join(forwarded_for).split(",") if part.strip()]
    while forwarded and _is_trusted(address, trusted):
        address = forwarded.pop()
    return address


def _without_port(address: str) -> str:
    """Turn ``203.0.113.7:4711`` and ``[2001:db8::1]:4711`` into the address."""
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
