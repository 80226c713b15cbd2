"""Rate limits per address: high enough for an institute behind one address, too low to fake many people within an hour.

Addresses are not stored. Counters are keyed by an HMAC whose key changes daily and is kept in memory only, so a memory dump
reveals nothing about yesterday. An IPv6 /64 counts as one address, because it belongs to one subscriber.
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
"""Maximum number of counters; above it, the oldest are evicted to limit memory use."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
log = structlog.get_logger()


class AddressLimits:
    """Counts and limits requests per address. ``per_minute``, ``per_day``: 0 means no limit."""

    def __init__(self, kind: str, per_minute: int, per_day: int, clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._limits: list[RateLimitItem] = []
        if per_minute:
            self._limits.append(RateLimitItemPerMinute(per_minute))
        if per_day:
            self._limits.append(RateLimitItemPerDay(per_day))
        self._storage = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._day: date | None = None
        self._key = b""

    def check(self, address: str) -> None:
        """Count a request. Raises a 429 Problem with the seconds to wait if a limit is exceeded."""
        if not self._limits:
            return
        self._evict()
        for key, multiplier in rate_limit_keys(address):
            hashed = self._hash(key)
            for item in self._limits:
                allowed = type(item)(item.amount * multiplier)
                if not self._limiter.hit(allowed, self._kind, hashed):
                    resets_at = self._limiter.get_window_stats(allowed, self._kind, hashed).reset_time
                    raise Problem(
                        429,
                        "Too many requests came from your network. Nothing is lost: send it again later.",
                        retry_after=max(1, round(resets_at - time.time())),
                    )

    def _evict(self) -> None:
        """Evict only the oldest counters: a flood of fake addresses must not reset everyone's limits."""
        counters = self._storage.storage
        if len(counters) > MAX_COUNTERS:
            log.warning("rate_limits_evicted", kind=self._kind, counters=len(counters))
            for key in list(counters)[: MAX_COUNTERS // 10]:
                self._storage.clear(key)

    def _hash(self, key: str) -> str:
        now: datetime = self._clock.now()
        if now.date() != self._day:
            self._day, self._key = now.date(), secrets.token_bytes(32)
        return hmac.new(self._key, key.encode(), hashlib.sha256).hexdigest()[:32]


def rate_limit_keys(address: str) -> list[tuple[str, int]]:
    """Return the rate-limit keys of an address, each with a multiplier for the limit.

    An IPv6 address has two keys: its /64, and its /48 with ten times the limit. A /48 is the largest block that a customer
    usually gets.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return [(address[:64], 1)]
    if isinstance(parsed, ipaddress.IPv4Address):
        return [(str(parsed), 1)]
    if parsed.ipv4_mapped is not None:
        return [(str(parsed.ipv4_mapped), 1)]
    return [(str(ipaddress.IPv6Network((parsed, bits), strict=False)), multiplier) for bits, multiplier in ((64, 1), (48, 10))]


def client_address(peer: str, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the client's address. Behind trusted proxies, that is the last address that is not a trusted proxy.

    Earlier entries of ``X-Forwarded-For`` may be forged by the client.
    """
    address = peer
    forwarded = [_without_port(part.strip()) for part in ",".join(forwarded_for).split(",") if part.strip()]
    while forwarded and _is_trusted(address, trusted):
        address = forwarded.pop()
    return address


def _without_port(address: str) -> str:
    """Strip the port from ``203.0.113.7:4711`` or ``[2001:db8::1]:4711``."""
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
