from __future__ import annotations

import gzip
import json
from datetime import timedelta

import brotli
import msgspec
import pytest
import zstandard
from napari_update_hook.wire import Updates

from tests.support.facts import AS_OF, facts_of, package_of
from tests.support.made_upstream import PLUGINS, MadeCondaFile, MadeFile, MadeProject
from update_server.index.bodies import UpdateBodies, prepared_minors
from update_server.index.pythons import PythonVersion
from update_server.representations import Body


def body(bodies: UpdateBodies, python: str, channel: str = "pypi") -> Body:
    found = bodies.find(channel, PythonVersion.parse(python))
    assert found is not None
    return found


def test_a_body_is_that_of_the_wire() -> None:
    updates = msgspec.json.decode(body(UpdateBodies(facts_of()), "3.10").identity, type=Updates)
    assert (updates.python, updates.channel, updates.index_version) == ("3.10", "pypi", "2026-11-20T08:00:00Z")
    assert json.loads(body(UpdateBodies(facts_of()), "3.10").identity)["packages"] == {
        "napari": {"latest": "0.7.1", "newest": "0.8.0", "newest_requires_python": ">=3.11"},
        "affinder": {"latest": "0.5.0"},
        "napari-harpy": {"latest": None, "newest": "0.1.3", "newest_requires_python": ">=3.12"},
        "micro-sam": {"latest": "1.5.0", "newest": "1.8.10", "newest_requires_python": ">=3.11"},
        "some-plugin": {"latest": "1.2.0", "yanked": {"1.1.0": "broken wheel"}},
        "compiled-plugin": {"latest": None, "newest": "2.0", "newest_requires_python": "==3.9.*"},
    }


def test_conda_forge_lists_what_is_there_under_the_names_of_pypi() -> None:
    packages = json.loads(body(UpdateBodies(facts_of()), "3.9", "conda-forge").identity)["packages"]
    assert packages == {
        "affinder": {"latest": "0.4.0", "newest": "0.5.0", "newest_requires_python": ">=3.10"},
        "micro-sam": {"latest": None, "newest": "1.8.10", "newest_requires_python": ">=3.11", "conda_name": "micro_sam"},
    }


def test_two_pythons_that_nothing_tells_apart_share_a_body() -> None:
    bodies = UpdateBodies(facts_of())
    assert body(bodies, "3.10") is body(bodies, "3.10.14")
    assert body(bodies, "3.10") is not body(bodies, "3.11")


def test_every_encoding_unpacks_to_the_same_bytes_and_two_replicas_make_the_same() -> None:
    first, second = UpdateBodies(facts_of()), UpdateBodies(facts_of())
    for bodies in (first, second):
        bodies.encode()
    mine, theirs = body(first, "3.11").representations, body(second, "3.11").representations
    assert {name: found.content for name, found in mine.items()} == {name: found.content for name, found in theirs.items()}
    identity = mine["identity"].content
    assert brotli.decompress(mine["br"].content) == identity
    assert gzip.decompress(mine["gzip"].content) == identity
    assert zstandard.ZstdDecompressor().decompress(mine["zstd"].content) == identity


def test_a_class_that_a_refresh_leaves_alone_keeps_its_body_and_etag() -> None:
    later = AS_OF + timedelta(hours=2)
    before = UpdateBodies(facts_of())
    changed = [*PLUGINS[1:], MadeProject("napari", {**PLUGINS[0].releases, "0.9.0": [MadeFile(">=3.12")]})]
    same = UpdateBodies(facts_of(as_of=later), before.changed)
    assert {python: body(same, python).etag for python in ("3.9", "3.12")} == {
        python: body(before, python).etag for python in ("3.9", "3.12")
    }
    moved = UpdateBodies(facts_of(changed, later), before.changed)
    assert body(moved, "3.12").etag != body(before, "3.12").etag
    assert json.loads(body(moved, "3.12").identity)["index_version"] == "2026-11-20T10:00:00Z"


def test_minors_beyond_those_prepared_are_made_when_they_are_asked_for() -> None:
    bodies = UpdateBodies(facts_of())
    newest = PythonVersion(prepared_minors(facts_of())[-1])
    far = PythonVersion(57)
    assert bodies.find("pypi", far) is None
    made = json.loads(bodies.make("pypi", far).identity)
    assert made["python"] == "3.57"
    nearby = bodies.find("pypi", newest)
    assert nearby is not None
    assert made["packages"] == json.loads(nearby.identity)["packages"]
    assert bodies.find("pypi", far) is not None


@pytest.mark.parametrize(("specifier", "last"), [(">=3.9,<3.15", 19), ("<3.99", 10), (None, 10)])
def test_a_bound_that_means_any_python_prepares_none(specifier: str | None, last: int) -> None:
    assert prepared_minors(facts_of([MadeProject("made", {"1": [MadeFile(specifier)]})]))[-1] == last


def test_with_napari_a_release_that_rules_it_out_is_left_out_and_named() -> None:
    needs = {"2.0": ("napari>=0.7,<0.9",), "1.0": ("napari",), "1.5": None}
    package = package_of(MadeProject("made", {"1.0": [MadeFile()], "1.5": [MadeFile(">=3.12")], "2.0": [MadeFile()]}))
    releases = tuple(msgspec.structs.replace(release, needs_napari=needs[release.version]) for release in package.releases)
    facts = msgspec.structs.replace(facts_of(), packages=(msgspec.structs.replace(package, releases=releases),))
    bodies = UpdateBodies(facts)

    def told(python: str, napari: str) -> dict[str, str]:
        bodies.make("pypi", PythonVersion.parse(python), napari)
        found = bodies.find("pypi", PythonVersion.parse(python), napari)
        assert found is not None
        made: dict[str, str] = json.loads(found.identity)["packages"]["made"]
        return made

    assert told("3.11", "0.8.0") == {"latest": "2.0"}
    assert told("3.11", "0.6.1") == {"latest": "1.0", "newest": "2.0", "newest_requires_napari": "<0.9,>=0.7"}
    assert told("3.12", "0.9.2") == {"latest": "1.5", "newest": "2.0", "newest_requires_napari": "<0.9,>=0.7"}


def test_on_conda_forge_depends_and_constrains_decide() -> None:
    files = [
        MadeCondaFile("1.0", ["python >=3.9", "napari"]),
        MadeCondaFile("1.1", ["python >=3.9"], ["napari >=0.7"]),
        MadeCondaFile("1.2", ["python >=3.9", "napari 0.7.*"]),
    ]
    bodies = UpdateBodies(facts_of([MadeProject("made", {"1.0": [MadeFile()]}, conda=files)]))
    answers = {
        napari: json.loads(bodies.make("conda-forge", PythonVersion(11), napari).identity)["packages"]["made"]
        for napari in ("0.6.1", "0.7.1", "0.8.0")
    }
    assert answers == {
        "0.6.1": {"latest": "1.0", "newest": "1.2", "newest_requires_napari": "0.7.*"},
        "0.7.1": {"latest": "1.2"},
        "0.8.0": {"latest": "1.1", "newest": "1.2", "newest_requires_napari": "0.7.*"},
    }


def test_naparis_that_nothing_tells_apart_share_a_body_and_few_are_kept() -> None:
    from update_server.index import bodies as module

    package = package_of(MadeProject("made", {"1.0": [MadeFile()]}))
    releases = (msgspec.structs.replace(package.releases[0], needs_napari=("napari<0.7",)),)
    facts = msgspec.structs.replace(facts_of(), packages=(msgspec.structs.replace(package, releases=releases),))
    bodies = UpdateBodies(facts)
    python = PythonVersion(11)
    made = bodies.make("pypi", python, "0.6.1")
    bodies.make("pypi", python, "0.6.2")
    assert bodies.find("pypi", python, "0.6.2") is bodies.find("pypi", python, "0.6.1")
    assert bodies.make("pypi", python, "0.8.0").etag != made.etag
    for minor in range(20, 99):
        for napari in ("0.6.1", "0.8.0", "0.9.0", "0.5.0"):
            bodies.make("pypi", PythonVersion(minor), napari)
    assert len(bodies._made) <= module.MOST_MADE


def test_vulnerable_releases_are_named_on_both_channels() -> None:
    facts = facts_of()
    packages = tuple(
        msgspec.structs.replace(package, vulnerabilities={"0.4.0": ("PYSEC-2026-1",)}) if package.key == "affinder" else package
        for package in facts.packages
    )
    bodies = UpdateBodies(msgspec.structs.replace(facts, packages=packages))
    for channel in ("pypi", "conda-forge"):
        packages_told = json.loads(body(bodies, "3.11", channel).identity)["packages"]
        assert packages_told["affinder"]["vulnerabilities"] == {"0.4.0": ["PYSEC-2026-1"]}
