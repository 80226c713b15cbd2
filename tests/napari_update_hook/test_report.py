from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.report import ReportKey, build_batch
from napari_update_hook.wire import TELEMETRY_LEVELS, AllowList, Level

KEY = ReportKey("2026-W47", "9754d8f20e8124a25bb6d86c393f257a", "5be1a0c4", 3)
ALLOWED = AllowList(
    schema_version=1,
    napari_versions=["0.6.1"],
    python_versions=["3.11"],
    platforms=["linux"],
    cpu_architectures=["x86_64"],
    sys_names=["Debian 12"],
    plugins={"affinder": ["0.5.0"], "napari-svg": ["0.2.1"]},
    commands={},
    layers=["image"],
    classes=["ndarray"],
    dtypes=["uint8"],
)


def environment(**distributions: Distribution) -> Environment:
    found = {distribution.name: distribution for distribution in distributions.values()}
    return Environment("3.11.4", "linux", "x86_64", "Debian 12", "pypi", found)


def test_a_report_names_what_the_public_list_has() -> None:
    here = environment(napari=Distribution("napari", "0.6.1"), a=Distribution("affinder", "0.5.0"))
    report = msgspec.to_builtins(build_batch(Level.MIDDLE, KEY, here, ALLOWED, first_report=True).report)
    assert report["napari_version"] == "0.6.1"
    assert report["python_version"] == "3.11"
    assert report["plugins"] == [{"name": "affinder", "version": "0.5.0"}]
    assert report["first_report"] is True


def test_a_lower_level_has_less() -> None:
    here = environment(a=Distribution("affinder", "0.5.0"))
    texts = [msgspec.json.encode(build_batch(level, KEY, here, ALLOWED, first_report=False)) for level in TELEMETRY_LEVELS]
    assert b"affinder" not in texts[0]
    assert b"command_usage" not in texts[1]
    assert b"command_usage" in texts[2]


NAMES = st.sampled_from(["affinder", "napari-svg", "secret-project", "napari"])
VERSIONS = st.sampled_from(["0.5.0", "0.2.1", "0.6.1", "0.5.0rc1", "0.5.0.dev3", "0.5.0+local", "9.9", "nonsense"])


@given(st.dictionaries(NAMES, st.tuples(VERSIONS, st.booleans())), st.text(max_size=10), st.text(max_size=10))
def test_nothing_private_ever_appears(found: dict[str, tuple[str, bool]], system: str, machine: str) -> None:
    distributions = {name: Distribution(name, version, is_local) for name, (version, is_local) in found.items()}
    here = Environment("3.11.4", "linux", machine, system, "pypi", distributions)
    report = msgspec.to_builtins(build_batch(Level.FULL, KEY, here, ALLOWED, first_report=False).report)
    for plugin in report["plugins"]:
        version, is_local = found[plugin["name"]]
        assert plugin["version"] == version
        assert version in (ALLOWED.plugins or {})[plugin["name"]]
        assert not is_local
    assert report["sys_name"] in ("Debian 12", "other")
    assert report["cpu_architecture"] in ("x86_64", "other")
    assert report["napari_version"] in ("0.6.1", "development")


def test_a_napari_from_a_folder_is_a_development_version() -> None:
    here = environment(napari=Distribution("napari", "0.6.1", is_local=True))
    assert build_batch(Level.BASIC, KEY, here, ALLOWED, first_report=False).report.napari_version == "development"
