from __future__ import annotations

import json
from datetime import timedelta

import msgspec
from napari_update_hook.wire import Updates

from tests.support.facts import AS_OF, facts_of, package_of
from tests.support.made_upstream import PLUGINS, MadeCondaFile, MadeFile, MadeProject
from update_server.index.bodies import UpdateBodies
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
