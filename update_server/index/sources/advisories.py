"""Known vulnerabilities from OSV. PyPI's JSON lists only those of the newest release."""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog
from msgspec import Struct, field
from packaging.utils import canonicalize_name
from packaging.version import Version

from update_server.index.model import Package, parse_version
from update_server.index.sources.fetching import Fetcher, RefusedError, TooLongError, UpstreamError, gather_or_cancel
from update_server.settings import Upstreams

T = TypeVar("T")

MAX_QUERIES = 1000
MAX_ADVISORY = 2**22

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")

log = structlog.get_logger()


class _Vulnerability(Struct):
    id: str


class _Result(Struct):
    vulns: list[_Vulnerability] = field(default_factory=list)


class _BatchAnswer(Struct):
    results: list[_Result]


class _Range(Struct):
    type: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)


class _Affected(Struct):
    package: dict[str, str] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    ranges: list[_Range] = field(default_factory=list)


class Advisory(Struct):
    id: str
    affected: list[_Affected] = field(default_factory=list)
    withdrawn: str | None = None


class UnreadableError(UpstreamError):
    """The answer is not in OSV's format."""


# Created at import because threads must not create them: see parsing.py.
_decode_answer = msgspec.json.Decoder(_BatchAnswer).decode
_decode_advisory = msgspec.json.Decoder(Advisory).decode


async def with_vulnerabilities(packages: tuple[Package, ...], fetcher: Fetcher, upstreams: Upstreams) -> tuple[Package, ...]:
    """Return the packages with their vulnerabilities. Raises UpstreamError."""
    ids: dict[str, list[str]] = {}
    for start in range(0, len(packages), MAX_QUERIES):
        group = packages[start : start + MAX_QUERIES]
        queries = [{"package": {"name": package.key, "ecosystem": "PyPI"}} for package in group]
        text = await fetcher.post(f"{upstreams.osv}/v1/querybatch", msgspec.json.encode({"queries": queries}))
        results = (await asyncio.to_thread(_decoded, text, _decode_answer)).results
        ids |= {package.key: [found.id for found in result.vulns] for package, result in zip(group, results, strict=False)}
    wanted = sorted({name for names in ids.values() for name in names if _ID.match(name)})
    found = await gather_or_cancel(_advisory(fetcher, upstreams, name) for name in wanted)
    advisories = {name: advisory for name, advisory in zip(wanted, found, strict=True) if advisory is not None}

    def completed() -> tuple[Package, ...]:
        return tuple(
            msgspec.structs.replace(
                package,
                vulnerabilities=affected_versions(
                    package, [advisories[name] for name in ids.get(package.key, ()) if name in advisories]
                ),
            )
            for package in packages
        )

    return await asyncio.to_thread(completed)


async def _advisory(fetcher: Fetcher, upstreams: Upstreams, name: str) -> Advisory | None:
    """Return an advisory, or None if it is missing, refused or invalid: one must not block the others."""
    try:
        answer = await fetcher.get(f"{upstreams.osv}/v1/vulns/{name}", max_bytes=MAX_ADVISORY)
        if answer is None or answer.text is None:
            return None
        return await asyncio.to_thread(_decoded, answer.text, _decode_advisory)
    except (RefusedError, TooLongError, UnreadableError) as error:
        log.warning("advisory_skipped", id=name, error=str(error))
        return None


def _decoded(text: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(text)
    except msgspec.MsgspecError as error:
        raise UnreadableError(f"OSV's answer can't be read: {error}") from error


def affected_versions(package: Package, advisories: Iterable[Advisory]) -> dict[str, tuple[str, ...]]:
    """Return the ids of advisories by release, without withdrawn ones."""
    found: dict[str, tuple[str, ...]] = {}
    for advisory in advisories:
        mine = [affected for affected in advisory.affected if _is_about(affected, package.key)]
        if advisory.withdrawn or not mine:
            continue
        listed = {parse_version(text) for affected in mine for text in affected.versions}
        spans = [span for affected in mine for span in affected.ranges if span.type == "ECOSYSTEM"]
        for release in package.releases:
            version = Version(release.version)
            if version in listed or any(_in_range(span, version) for span in spans):
                found[release.version] = tuple(sorted({*found.get(release.version, ()), advisory.id}))
    return found


def _is_about(affected: _Affected, key: str) -> bool:
    return affected.package.get("ecosystem") == "PyPI" and canonicalize_name(affected.package.get("name", "")) == key


def _in_range(span: _Range, version: Version) -> bool:
    """Evaluate a range as in the OSV schema ("Evaluation")."""
    limits = [limit for event in span.events if (limit := parse_version(event.get("limit")))]
    if limits and all(version >= limit for limit in limits):
        return False
    is_inside = False
    for event in sorted(span.events, key=_position):
        for kind, text in event.items():
            bound = parse_version(text)
            if kind == "introduced" and (text == "0" or (bound is not None and version >= bound)):
                is_inside = True
            elif (kind == "fixed" and bound is not None and version >= bound) or (
                kind == "last_affected" and bound is not None and version > bound
            ):
                is_inside = False
    return is_inside


def _position(event: Mapping[str, Any]) -> tuple[bool, Version]:
    """Return the sort key of an event: by version, ``introduced: 0`` first."""
    parsed = next((parsed for text in event.values() if (parsed := parse_version(text))), Version("0"))
    return event.get("introduced") != "0", parsed
