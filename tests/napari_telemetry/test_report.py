from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry.environment import EnvironmentInfo, environment_info
from napari_telemetry.layers import LayerKind
from napari_telemetry.report import ReportKey, build_batch, estimate_allow_list, public_commands, round_down
from napari_telemetry.wire import TELEMETRY_LEVELS, AllowList, Level, batch_decoder
from napari_update_hook import environment as hook
from napari_update_hook.environment import Environment

KEY = ReportKey("2026-W47", "9754d8f20e8124a25bb6d86c393f257a", "5be1a0c4", 3)
ALLOWED = AllowList(
    schema_version=1,
    napari_versions=["0.6.1"],
    python_versions=["3.11"],
    platforms=["linux"],
    cpu_architectures=["x86_64"],
    sys_names=["Debian 12"],
    plugins={"affinder": ["0.5.0"], "napari-svg": ["0.2.1"]},
    commands={"affinder": ["affinder.start"], "napari": ["napari.open"]},
    layers=["image"],
    classes=["ndarray"],
    dtypes=["uint8"],
)


LISTED = frozenset({"affinder", "napari-svg"})
SYSTEM = ("linux", "x86_64", "Debian 12")


def Distribution(name: str, version: str, *, is_local: bool = False) -> hook.Distribution:  # noqa: N802 - as the class
    return hook.Distribution(name, version, is_plugin=True, is_local=is_local)


def environment(**distributions: hook.Distribution) -> Environment:
    found = {distribution.name: distribution for distribution in distributions.values()}
    return Environment("3.11.4", "pypi", found)


def facts_of(here: Environment, level: Level) -> EnvironmentInfo:
    return environment_info(here, level, SYSTEM)


def test_a_report_contains_publicly_listed_names() -> None:
    here = environment(napari=Distribution("napari", "0.6.1"), a=Distribution("affinder", "0.5.0"))
    report = msgspec.to_builtins(
        build_batch(Level.MIDDLE, KEY, facts_of(here, Level.MIDDLE), ALLOWED, LISTED, first_report=True).report
    )
    assert report["napari_version"] == "0.6.1"
    assert report["python_version"] == "3.11"
    assert report["plugins"] == [{"name": "affinder", "version": "0.5.0"}]
    assert report["first_report"] is True


def test_a_lower_level_has_fewer_fields() -> None:
    here = environment(a=Distribution("affinder", "0.5.0"))
    texts = [
        msgspec.json.encode(build_batch(level, KEY, facts_of(here, level), ALLOWED, LISTED, first_report=False))
        for level in TELEMETRY_LEVELS
    ]
    assert b"affinder" not in texts[0]
    assert b"command_usage" not in texts[1]
    assert b"command_usage" in texts[2]


NAMES = st.sampled_from(["affinder", "napari-svg", "secret-project", "napari"])
VERSIONS = st.sampled_from(["0.5.0", "0.2.1", "0.6.1", "0.5.0rc1", "0.5.0.dev3", "0.5.0+local", "9.9", "nonsense"])
COMMANDS = st.dictionaries(st.sampled_from(["affinder.start", "napari.open", "secret-project.run", "x"]), st.integers(0, 5000))
KINDS = st.builds(
    LayerKind,
    st.sampled_from(["image", "secret-layer"]),
    st.sampled_from(["SMALL", "LARGE"]),
    st.integers(0, 32),
    st.sampled_from(["ndarray", "SecretArray"]),
    st.sampled_from(["uint8", "secret"]),
)


@pytest.mark.promise("every-text-is-public")
@given(
    found=st.dictionaries(NAMES, st.tuples(VERSIONS, st.booleans())),
    system=st.text(max_size=10),
    machine=st.text(max_size=10),
    commands=COMMANDS,
    layers=st.dictionaries(KINDS, st.integers(0, 5000)),
    level=st.sampled_from(TELEMETRY_LEVELS),
)
def test_reports_contain_nothing_private(
    found: dict[str, tuple[str, bool]],
    system: str,
    machine: str,
    commands: dict[str, int],
    layers: dict[LayerKind, int],
    level: Level,
) -> None:
    distributions = {name: Distribution(name, version, is_local=is_local) for name, (version, is_local) in found.items()}
    here = Environment("3.11.4", "pypi", distributions)
    info = environment_info(here, level, ("linux", machine, system))
    batch = build_batch(level, KEY, info, ALLOWED, LISTED, first_report=False, commands=commands, layers=layers)
    batch_decoder(level).decode(msgspec.json.encode(batch))  # the server accepts it
    report = msgspec.to_builtins(batch.report)
    for plugin in report.get("plugins", []):
        version, is_local = found[plugin["name"]]
        assert plugin["version"] == version
        assert version in (ALLOWED.plugins or {})[plugin["name"]]
        assert not is_local
    assert set(report.get("command_usage", {})) <= {"affinder.start", "napari.open"}
    assert set(report.get("command_usage", {}).values()) <= {1, 10, 100, 1000}
    assert "secret" not in msgspec.json.encode(batch).decode().lower()
    assert report["sys_name"] in ("Debian 12", "other")
    assert report["cpu_architecture"] in ("x86_64", "other")
    assert report["napari_version"] in ("0.6.1", "development")


@pytest.mark.promise("counts-are-rounded")
@pytest.mark.parametrize(
    ("count", "told"), [(1, 1), (9, 1), (10, 10), (99, 10), (100, 100), (999, 100), (1000, 1000), (10**9, 1000)]
)
def test_counts_are_rounded_down(count: int, told: int) -> None:
    assert round_down(count) == told


def test_unlisted_kinds_are_merged_as_other() -> None:
    kinds = {LayerKind("image", "SMALL", 2, name, "uint8"): 5 for name in ("Mine", "Yours")}
    facts = facts_of(environment(), Level.FULL)
    report: Any = build_batch(Level.FULL, KEY, facts, ALLOWED, LISTED, first_report=False, layers=kinds).report
    assert [(use.class_, use.count) for use in report.data_size_info] == [("other", 10)]


def test_only_the_most_used_commands_are_reported() -> None:
    many = AllowList(1, [], [], [], [], [], commands={"a": [f"a.{number}" for number in range(6000)]})
    used = {f"a.{number}": 1 + (number >= 1000) * 10 for number in range(6000)}
    named = public_commands(used, many, frozenset({"a"}))
    assert len(named) == 5000
    assert set(named.values()) == {10}


def test_without_a_list_its_names_are_left_out() -> None:
    facts = facts_of(environment(a=Distribution("affinder", "0.5.0")), Level.FULL)
    bare = AllowList(1, [], [], [], [], [])
    report: Any = build_batch(Level.FULL, KEY, facts, bare, LISTED, first_report=False, commands={"affinder.start": 1}).report
    assert (report.plugins, report.command_usage, report.python_version) == ([], {}, "other")


def test_an_example_estimates_what_would_be_sent() -> None:
    here = environment(a=Distribution("affinder", "0.5.0"), b=Distribution("private-plugin", "1.0"))
    facts = facts_of(here, Level.MIDDLE)
    allowed = estimate_allow_list(facts, {"affinder": ["0.5.0"], "napari": ["0.6.1"]})
    report: Any = build_batch(Level.MIDDLE, KEY, facts, allowed, LISTED, first_report=True).report
    assert [plugin.name for plugin in report.plugins] == ["affinder"]


def test_no_more_is_collected_than_the_level_needs() -> None:
    here = environment(a=Distribution("affinder", "0.5.0"), b=Distribution("mine", "1.0", is_local=True))
    assert facts_of(here, Level.BASIC).plugins == {}
    assert facts_of(here, Level.MIDDLE).plugins == {"affinder": "0.5.0"}


def test_a_local_napari_is_reported_as_development() -> None:
    here = environment(napari=Distribution("napari", "0.6.1", is_local=True))
    assert (
        build_batch(Level.BASIC, KEY, facts_of(here, Level.BASIC), ALLOWED, LISTED, first_report=False).report.napari_version
        == "development"
    )
