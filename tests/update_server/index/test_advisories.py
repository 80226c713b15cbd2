from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.facts import package_of
from tests.support.sample_upstream import SampleFile, SampleProject
from update_server.index.sources.advisories import Advisory, affected_versions

PACKAGE = package_of(
    SampleProject("Weak.Plugin", {version: [SampleFile()] for version in ("1.0", "1.1", "1.2rc1", "1.2", "2.0")})
)


def advisory(*, name: str = "weak_plugin", ecosystem: str = "PyPI", withdrawn: str | None = None, **affected: Any) -> Advisory:
    entry = {"package": {"name": name, "ecosystem": ecosystem}} | affected
    return msgspec.convert({"id": "PYSEC-1", "affected": [entry], "withdrawn": withdrawn}, Advisory)


def ranges(*events: dict[str, str], kind: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    return [{"type": kind, "events": list(events)}]


@pytest.mark.parametrize(
    ("found", "versions"),
    [
        (advisory(versions=["1.0", "1.1.0"]), ["1.1", "1.0"]),
        (advisory(ranges=ranges({"introduced": "0"}, {"fixed": "1.1"})), ["1.0"]),
        (advisory(ranges=ranges({"introduced": "1.1"}, {"last_affected": "1.2"})), ["1.2", "1.2rc1", "1.1"]),
        (advisory(ranges=ranges({"introduced": "1.2"})), ["2.0", "1.2"]),
        (advisory(ranges=ranges({"introduced": "0"}, {"fixed": "1.1"}, {"introduced": "2.0"})), ["2.0", "1.0"]),
        (advisory(ranges=ranges({"fixed": "1.2"}, {"introduced": "0"})), ["1.2rc1", "1.1", "1.0"]),
        (advisory(ranges=ranges({"introduced": "2.0"}, {"fixed": "1.1"}, {"introduced": "0"})), ["2.0", "1.0"]),
        (advisory(ranges=ranges({"introduced": "0"}, {"limit": "1.2"})), ["1.2rc1", "1.1", "1.0"]),
        (advisory(ranges=ranges({"introduced": "0"}, kind="GIT")), []),
        (advisory(ranges=ranges({"introduced": "a1b2"})), []),
        (advisory(versions=["1.0"], name="other"), []),
        (advisory(versions=["1.0"], ecosystem="npm"), []),
        (advisory(versions=["1.0"], withdrawn="2026-01-01T00:00:00Z"), []),
    ],
)
def test_an_advisory_affects_the_expected_releases(found: Advisory, versions: list[str]) -> None:
    assert list(affected_versions(PACKAGE, [found])) == versions


def test_an_entry_without_a_package_affects_nothing() -> None:
    assert affected_versions(PACKAGE, [msgspec.convert({"id": "X", "affected": [{"versions": ["1.0"]}]}, Advisory)]) == {}
