"""The release check on generated wheels and sdists, with public data on loopback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from napari_release_check import files
from napari_release_check.__main__ import main
from napari_release_check.checks import newest_python
from napari_release_check.files import UnreadableFileError, command_ids, compatible_minors, read

from tests.support.raw_server import RecordingServer
from update_server.index.pythons import supported_pairs

ROOT = Path(__file__).parents[2]
MANIFEST = {
    "name": "affinder",
    "contributions": {"commands": [{"id": "affinder.start", "title": "x"}, {"id": "affinder.stop", "title": "y"}]},
}
PUBLIC: dict[str, Any] = {
    "/simple/affinder/": {
        "files": [
            {"filename": "affinder-0.5.0-py3-none-any.whl", "requires-python": ">=3.9", "yanked": False},
            {"filename": "affinder-0.5.0.tar.gz", "requires-python": ">=3.9", "yanked": False},
            {"filename": "affinder-0.9.0-py3-none-any.whl", "requires-python": ">=3.9", "yanked": "broken"},
            {"filename": "affinder-1.0rc1-py3-none-any.whl", "yanked": False},
            {"filename": "affinder.exe"},
        ]
    },
    "/simple/napari/": {"files": [{"filename": f"napari-{version}.tar.gz"} for version in ("0.7.1", "0.8.0", "0.9.0rc1")]},
    "/api/manifest/affinder": MANIFEST,
    "/api/packages/affinder/python_minor": {
        "data": [
            {"category": category, "date": "2026-11-30", "downloads": downloads}
            for category, downloads in (("3.9", 10), ("3.12", 90), ("null", 500))
        ]
    },
    "/api/stats/plugins/affinder?by=python": {
        "rows": [
            {"week": "2026-W45", "values": {"python": "3.10"}, "people": 90},
            {"week": "2026-W46", "values": {"python": "3.10"}, "people": 45},
        ]
    },
}


def metadata(version: str, requires_python: str, *requires: str) -> bytes:
    lines = ["Metadata-Version: 2.1", "Name: Affinder", f"Version: {version}", f"Requires-Python: {requires_python}"]
    return "\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires), "", "text"]).encode()


def wheel(
    folder: Path, version: str = "0.6.0", requires_python: str = ">=3.11", *requires: str, tag: str = "py3-none-any",
    manifest: Any = MANIFEST, place: str = "affinder:napari.yaml",
) -> Path:  # fmt: skip
    path = folder / f"affinder-{version}-{tag}.whl"
    info = f"affinder-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", metadata(version, requires_python, *requires))
        archive.writestr(
            f"{info}/entry_points.txt", f"[napari.manifest]\naffinder = {place}\n[console_scripts]\nFoo = a:%s\nfoo = a:b\n"
        )
        archive.writestr("affinder/napari.yaml", yaml.safe_dump(manifest))
        archive.writestr("affinder/__init__.py", "raise SystemExit('it was run')")
    return path


def source(folder: Path, version: str = "0.6.0", requires_python: str = ">=3.11") -> Path:
    path = folder / f"affinder-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name in ("docs/deep/PKG-INFO", "PKG-INFO"):
            content = metadata(version, requires_python)
            member = tarfile.TarInfo(f"affinder-{version}/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    running = RecordingServer()
    for path, answer in PUBLIC.items():
        running.answer(path, answer)
    yield running
    running.close()


def run_check(
    capsys: pytest.CaptureFixture[str], server: RecordingServer | None, *arguments: object, code: int = 0
) -> dict[str, Any]:
    """Run the check; return its JSON report with findings by code."""
    where = ["--upstream", server.url, "--server", server.url] if server else ["--offline"]
    assert main([*where, "--json", *map(str, arguments)]) == code
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report | {"findings": {finding["code"]: finding for finding in report["findings"]}}


def test_good_releases_have_no_findings(tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]) -> None:
    built = [
        wheel(tmp_path, "0.6.0", ">=3.9", "napari>=0.7", "napari[all]<0.8; extra == 'dev'"),
        source(tmp_path, "0.6.0", ">=3.9"),
    ]
    report = run_check(capsys, server, *built)
    assert (report["name"], report["version"], report["compared_with"]) == ("affinder", "0.6.0", "0.5.0")
    assert report["napari"] == ">=0.7"
    assert report["pythons"][0] == "3.9"
    assert (report["dropped"], report["findings"]) == ([], {})
    assert main(["--upstream", server.url, *map(str, built)]) == 0
    assert "No problems found." in capsys.readouterr().out


def test_dropped_python_versions_are_named_with_people_and_downloads(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_check(capsys, server, wheel(tmp_path))
    assert report["dropped"] == [
        {"python": "3.9", "people": None, "downloads": 10.0},
        {"python": "3.10", "people": 45, "downloads": None},
    ]
    text = report["findings"]["drops-python"]["text"]
    assert "3.9 (10 % of downloads), 3.10 (at least 45 people)" in text
    assert "Users there stay on 0.5.0" in text
    assert main(["--upstream", server.url, "--strict", str(wheel(tmp_path))]) == 1


@pytest.mark.parametrize(
    ("version", "code", "level"),
    [
        ("0.5.0", "published", "error"),
        ("0.9.0", "published", "error"),
        ("0.4.1", "not-newer", "warning"),
        ("1.0_x", "version", "error"),
    ],
)
def test_a_version_must_be_new(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str], version: str, code: str, level: str
) -> None:
    report = run_check(capsys, server, wheel(tmp_path, version, ">=3.9"), code=1 if level == "error" else 0)
    assert report["findings"][code]["level"] == level


def test_upper_bounds_and_missing_files_are_reported(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = newest_python(datetime.now(UTC).date())
    bound = wheel(tmp_path, "0.6.0", f">=3.9,<3.{newest + 1}", "napari>=0.6,<0.8")
    found = run_check(capsys, server, bound)["findings"]
    assert f"excludes Python 3.{newest + 1}" in found["upper-bound"]["text"]
    assert "napari 0.8.0, the newest" in found["excludes-napari"]["text"]
    compiled = wheel(tmp_path, "0.6.1", ">=3.11", tag="cp312-cp312-manylinux_2_17_x86_64")
    report = run_check(capsys, server, compiled)
    assert report["pythons"] == ["3.12"]
    assert "Python 3.11, 3.13" in report["findings"]["no-file"]["text"]
    assert "no-file" not in run_check(capsys, server, compiled, source(tmp_path, "0.6.1"))["findings"]
    assert "no-python" in run_check(capsys, server, wheel(tmp_path, "0.7.0", "<3"), code=1)["findings"]
    assert "several-releases" in run_check(capsys, server, compiled, bound, code=1)["findings"]
    assert "no-wheel" in run_check(capsys, server, source(tmp_path, "0.8.0"))["findings"]


def test_excluding_released_python_versions_is_reported(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = newest_python(datetime.now(UTC).date())
    found = run_check(capsys, server, wheel(tmp_path, "0.6.0", f">=3.8,<3.{newest - 1}"))["findings"]
    assert f"excludes Python 3.{newest - 1}, 3.{newest}, 3.{newest + 1}: users there" in found["upper-bound"]["text"]


def test_a_requirement_on_napari_may_depend_on_python_or_platform(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    split = ["napari<0.7; python_version<'3.11'", "napari>=0.7; python_version>='3.11'", "napari<0.5; sys_platform=='win32'"]
    assert "excludes-napari" not in run_check(capsys, server, wheel(tmp_path, "0.6.0", ">=3.9", *split))["findings"]
    split[1] = "napari>=0.7,<0.8; python_version>='3.11'"
    assert "excludes-napari" in run_check(capsys, server, wheel(tmp_path, "0.6.0", ">=3.9", *split))["findings"]


def test_metadata_of_vendored_packages_is_ignored(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("a/other-2.0.dist-info/METADATA", "src/vendored/affinder/napari.yaml"):
            archive.writestr(name, "Name: other\nVersion: 2.0\n")
    assert (read(path).name, read(path).commands) == ("affinder", frozenset({"affinder.start", "affinder.stop"}))
    places = {
        "affinder:./napari.yaml": frozenset({"affinder.start", "affinder.stop"}),
        "affinder:napari.toml": None,
        "other:napari.yaml": None,
    }
    for place, commands in places.items():
        path = wheel(tmp_path, place=place)
        assert read(path).commands == commands, place


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/simple/affinder/", {"files": [1]}), ("/simple/affinder/", {"files": None}), ("/simple/affinder/", b"[" * 200_000),
        ("/api/manifest/affinder", {"contributions": {"commands": 5}}), ("/api/packages/affinder/python_minor", {"data": None}),
        ("/api/packages/affinder/python_minor", {"data": [{"category": "3.9", "date": "x", "downloads": "many"}]}),
        ("/api/stats/plugins/affinder?by=python", {"rows": [{"week": "2026-W40"}]}),
        ("/api/stats/plugins/affinder?by=python", [1]),
    ],
)  # fmt: skip
def test_an_invalid_answer_is_ignored(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str], path: str, answer: Any
) -> None:
    server.answer(path, answer)
    report = run_check(capsys, server, wheel(tmp_path, "0.6.0", ">=3.9"))
    assert set(report["findings"]) <= {"offline"}
    if "manifest" not in path:
        assert "unreadable" in report["findings"]["offline"]["text"]


def test_removed_commands_are_named(tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]) -> None:
    renamed = {"contributions": {"commands": [{"id": "affinder.start"}, {"id": "affinder.end"}]}}
    found = run_check(capsys, server, wheel(tmp_path, "0.6.0", ">=3.9", manifest=renamed))["findings"]
    assert "removed or renamed: affinder.stop." in found["commands"]["text"]
    broken: Any
    for broken in ([], {"contributions": None}, {"contributions": {"commands": "x"}}, {"contributions": {"commands": [1]}}):
        assert command_ids(broken) == frozenset()


def test_a_new_plugin_is_not_compared(tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]) -> None:
    del server.answers["/simple/affinder/"]
    report = run_check(capsys, server, wheel(tmp_path))
    assert (report["compared_with"], report["findings"]) == (None, {})


def test_the_check_passes_offline_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "offline" in run_check(capsys, None, wheel(tmp_path))["findings"]
    assert main(["--upstream", "http://127.0.0.1:9", "--json", str(wheel(tmp_path))]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert "127.0.0.1:9 can't be reached" in finding["text"]


def test_annotations_are_escaped(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["--upstream", server.url, str(wheel(tmp_path))]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert line.startswith("::warning title=napari release check::0.5.0 supports Python")
    assert "10 %25 of downloads" in line
    run_check(capsys, server, wheel(tmp_path))  # the output is still pure JSON


def test_unreadable_files_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "affinder-1-py3-none-any.whl"
    whole = source(tmp_path).read_bytes()
    for content in (b"", b"PK", b"x" * 100, wheel(tmp_path).read_bytes()[:400]):
        broken.write_bytes(content)
        assert main([str(broken)]) == 2
        assert "can't be read" in capsys.readouterr().err
    cut = tmp_path / "affinder-2.tar.gz"
    cut.write_bytes(whole[:60])
    assert main([str(cut)]) == 2
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(UnreadableFileError, match="no metadata"):
        read(broken)
    monkeypatch.setattr(files, "MAX_METADATA", 10)
    with pytest.raises(UnreadableFileError, match="too large"):
        read(source(tmp_path))
    assert main([str(tmp_path / "notes.txt")]) == 2
    assert "Build first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("filename", "requires_python", "expected"),
    [
        ("x-1.tar.gz", "", {8, 9, 10, 11, 12}),
        ("x-1.tar.gz", ">=3.10.2", {10, 11, 12}),
        ("x-1.tar.gz", "nonsense", set()),
        ("x-1-py3-none-any.whl", "!=3.11.*", {8, 9, 10, 12}),
        ("x-1-cp311-cp311-win_amd64.whl", ">=3.9", {11}),
        ("x-1-cp39-abi3-macosx_11_0_arm64.whl", "", {9, 10, 11, 12}),
        ("x-1-py2.py3-none-any.whl", ">=3.12", {12}),
        ("x-1-pp39-pypy39_pp73-win_amd64.whl", "", set()),
        ("x-1.zip.exe", "", set()),
    ],
)
def test_compatible_python_versions_match_those_of_pip(filename: str, requires_python: str, expected: set[int]) -> None:
    assert compatible_minors(filename, requires_python, range(8, 13)) == expected


def test_compatible_tags_match_those_of_the_index() -> None:
    for minor in range(8, 17):
        assert {"-".join(pair) for pair in files._compatible_pairs(minor)} == supported_pairs(minor)


def test_a_python_version_is_released_each_october() -> None:
    assert [newest_python(date(2025, month, 15)) for month in (9, 10)] == [13, 14]
    assert newest_python(date(2026, 12, 1)) == 15


@pytest.mark.slow
def test_the_action_fails_on_warnings_only_if_strict(tmp_path: Path, server: RecordingServer) -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    inputs = {name: one["default"] for name, one in action["inputs"].items()}
    wheel(tmp_path, "0.6.0")
    own = os.environ | {"RUNNER_TEMP": str(tmp_path / "runner"), "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_ACTIONS": "true"}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    inputs["files"] = f"{tmp_path}/*.whl --upstream {server.url}"
    for strict, code in (("false", 0), ("true", 1)):
        inputs["strict"] = strict
        for step in action["runs"]["steps"]:
            assert step["shell"] == "bash"
            environment = own | {key: inputs[value.split(".")[1].rstrip("} ")] for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step["run"]], env=environment, capture_output=True, text=True, check=False
            )
        assert done.returncode == code, done.stdout + done.stderr
        assert "::warning title=napari release check::" in done.stdout
