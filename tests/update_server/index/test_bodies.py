from __future__ import annotations

import gzip
import json
from datetime import timedelta

import brotli
import msgspec
import pytest
import zstandard
from napari_update_hook.wire import Updates

from tests.support.facts import AS_OF, facts_of
from tests.support.made_upstream import PLUGINS, MadeFile, MadeProject
from update_server.index.bodies import Body, UpdateBodies, prepared_minors
from update_server.index.pythons import PythonVersion


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
