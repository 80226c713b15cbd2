"""Reads known vulnerabilities from OSV, so that a client can warn about what is installed.

PyPI's own JSON names those of the newest release alone. OSV is asked by package name, for all of them at once, and tells for
each advisory which versions it affects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct, field
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from update_server.index.model import Package
from update_server.index.sources.fetching import Fetcher, UpstreamError, all_of
from update_server.settings import Upstreams

T = TypeVar("T")

MOST_QUERIES = 1000


class _Vulnerability(Struct):
    id: str


class _Result(Struct):
    vulns: list[_Vulnerability] = field(default_factory=list)


class _BatchAnswer(Struct):
    results: list[_Result]


class _Affected(Struct):
    package: dict[str, str] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    ranges: list[dict[str, object]] = field(default_factory=list)


class Advisory(Struct):
    """One advisory of OSV, as far as it is used."""

    id: str
    affected: list[_Affected] = field(default_factory=list)
    withdrawn: str | None = None


async def with_vulnerabilities(packages: tuple[Package, ...], fetcher: Fetcher, upstreams: Upstreams) -> tuple[Package, ...]:
    """Return the packages with what OSV knows of them. Raises UpstreamError."""
    ids: dict[str, list[str]] = {}
    for start in range(0, len(packages), MOST_QUERIES):
        group = packages[start : start + MOST_QUERIES]
        queries = [{"package": {"name": package.key, "ecosystem": "PyPI"}} for package in group]
        text = await fetcher.post(f"{upstreams.osv}/v1/querybatch", msgspec.json.encode({"queries": queries}))
        results = _decoded(text, _BatchAnswer).results
        ids |= {package.key: [found.id for found in result.vulns] for package, result in zip(group, results, strict=False)}
    wanted = sorted({name for names in ids.values() for name in names})
    found = await all_of(_advisory(fetcher, upstreams, name) for name in wanted)
    advisories = {name: advisory for name, advisory in zip(wanted, found, strict=True) if advisory is not None}

    def of(package: Package) -> dict[str, tuple[str, ...]]:
        return affected_versions(package, [advisories[name] for name in ids.get(package.key, ()) if name in advisories])

    return tuple(msgspec.structs.replace(package, vulnerabilities=of(package)) for package in packages)


async def _advisory(fetcher: Fetcher, upstreams: Upstreams, name: str) -> Advisory | None:
    answer = await fetcher.get(f"{upstreams.osv}/v1/vulns/{name}")
    return None if answer is None or answer.text is None else _decoded(answer.text, Advisory)


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise UpstreamError(f"OSV gave an answer that can't be read: {error}") from error


def affected_versions(package: Package, advisories: Iterable[Advisory]) -> dict[str, tuple[str, ...]]:
    """Return the ids of the advisories that affect each release of a package, in order. Withdrawn advisories affect none."""
    found: dict[str, tuple[str, ...]] = {}
    for advisory in advisories:
        if advisory.withdrawn:
            continue
        for release in package.releases:
            if any(_affects(affected, package.key, release.version) for affected in advisory.affected):
                found[release.version] = tuple(sorted({*found.get(release.version, ()), advisory.id}))
    return found


def _affects(affected: _Affected, key: str, version: str) -> bool:
    if affected.package.get("ecosystem") != "PyPI" or canonicalize_name(affected.package.get("name", "")) != key:
        return False
    parsed = Version(version)
    if any(parsed == _parsed(listed) for listed in affected.versions):
        return True
    return any(_in_range(span, parsed) for span in affected.ranges if span.get("type") == "ECOSYSTEM")


def _in_range(span: Mapping[str, object], version: Version) -> bool:
    """Whether a version lies in a range of events (OSV schema, "affected[].ranges[].events")."""
    events = span.get("events")
    is_inside = False
    for event in events if isinstance(events, list) else ():
        if (introduced := event.get("introduced")) is not None:
            is_inside = is_inside or introduced == "0" or _is_at_most(introduced, version)
        elif (fixed := event.get("fixed")) is not None and _is_at_most(fixed, version):
            is_inside = False
        elif (last := event.get("last_affected")) is not None:
            parsed = _parsed(last)
            is_inside = is_inside and (parsed is None or version <= parsed)
    return is_inside


def _is_at_most(text: str, version: Version) -> bool:
    parsed = _parsed(text)
    return parsed is not None and parsed <= version


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
