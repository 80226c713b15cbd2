"""Wheels are untrusted zip files."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from update_server.index.sources import wheels
from update_server.index.sources.wheels import UnusableWheelError, WheelReader, parse_wheel

MANIFEST = """
name: made-plugin
display_name: Made Plugin
contributions:
  commands:
    - {id: made-plugin.read, title: Read, python_name: "made_plugin:read"}
  readers:
    - {command: made-plugin.read, filename_patterns: ["*.made"], accepts_directories: false}
"""
METADATA = "Metadata-Version: 2.1\nName: made-plugin\nVersion: 1.0\nAuthor: A. Uthor\nProject-URL: Docs, https://docs.example\n"
ENTRY = "[console_scripts]\nx = y:z\n\n[napari.manifest]\nmade-plugin = made_plugin:napari.yaml\n"


def wheel(
    members: dict[str, str | bytes] | None = None, compression: int = zipfile.ZIP_DEFLATED, **changes: str | bytes | None
) -> bytes:
    """Return a wheel. ``changes`` replace ``manifest``, ``entry`` or ``metadata``; None omits the file."""
    parts = {"manifest": MANIFEST, "entry": ENTRY, "metadata": METADATA} | changes
    paths = {
        "manifest": "made_plugin/napari.yaml",
        "entry": "made_plugin-1.0.dist-info/entry_points.txt",
        "metadata": "made_plugin-1.0.dist-info/METADATA",
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as made:
        for name, content in parts.items():
            if content is not None:
                made.writestr(paths[name], content)
        for path, content in (members or {}).items():
            made.writestr(path, content)
    return archive.getvalue()


def test_a_wheel_is_neither_executed_nor_extracted(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.chdir(Path(str(tmp_path)))
    bad = "open('run', 'w').close()"
    parse_wheel(wheel({"made_plugin/__init__.py": bad, "setup.py": bad, "../outside.txt": "x", "/absolute.txt": "x"}))
    assert list(Path(str(tmp_path)).iterdir()) == []


def test_a_manifest_may_be_toml_in_a_subpackage() -> None:
    entry = "[napari.manifest]\nmade-plugin = made_plugin.inner:napari.toml\n"
    found = parse_wheel(wheel({"made_plugin/inner/napari.toml": 'name = "made-plugin"\n'}, manifest=None, entry=entry))
    assert json.loads(found.manifest)["name"] == "made-plugin"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not a zip", "can't be read"),
        (wheel()[:-40], "can't be read"),
        (wheel(entry=None), "No npe2 or npe1 entry point"),
        (wheel(entry="[napari.plugin]\nx = y\n"), "npe1"),
        (wheel(entry="[[["), "No npe2|entry points"),
        (wheel(manifest=None), "does not exist"),
        (wheel(manifest="[1, 2"), "can't be read"),
        (wheel(manifest="- a\n- b\n"), "not a mapping"),
        (wheel(manifest="name: made-plugin\ncontributions: {commands: 7}\n"), "is not valid for npe2"),
        (wheel(manifest=b"\xff\xfe"), "not text"),
        (wheel(manifest="!!python/object/apply:os.system ['touch run']"), "can't be read"),
        (wheel(manifest="[" * 50_000), "can't be read"),
        (wheel(manifest=None, entry="[napari.manifest]\nx =\n"), "does not name a file"),
        (wheel(manifest=None, entry="[napari.manifest]\nx = ../../etc:passwd\n"), "does not name a file"),
        (wheel(manifest=" " * (wheels.MAX_BYTES + 1)), "longer than"),
        (wheel(metadata=None), "can't be read"),
        (wheel(manifest="name: !!int ''\n"), "can't be read"),
        (wheel(manifest="name: made-plugin\ncontributions: [1]\n"), "can't be read|is not valid for npe2"),
        (wheel(entry="[napari.manifest]\n"), "No npe2"),
        (wheel(compression=zipfile.ZIP_BZIP2), "unsupported compression"),
        (wheel(compression=zipfile.ZIP_LZMA), "unsupported compression"),
    ],
)
def test_an_unusable_wheel_is_rejected_with_a_reason(content: bytes, told: str) -> None:
    with pytest.raises(UnusableWheelError, match=told):
        parse_wheel(content)


@pytest.mark.parametrize(
    ("entry", "manifest"),
    [
        ("[console_scripts]\nX = a:b\nx = a:b\nx = a:b\n\n" + ENTRY.partition("\n\n")[2], MANIFEST),
        ("[napari.manifest]\nmade-plugin = made_plugin:napari.yaml\nmade-plugin = made_plugin:napari.yaml\n", MANIFEST),
        ("[napari.manifest]\nmade-plugin = made_plugin:napari.yaml [extra]\n", MANIFEST),
        ("[napari.manifest]\nmade-plugin = made_plugin:napari.yaml\n", "\ufeff" + MANIFEST),
    ],
    ids=["scripts that differ in case", "an option twice", "an extra", "a byte order mark"],
)
def test_entry_points_are_parsed_as_in_importlib(entry: str, manifest: str) -> None:
    assert parse_wheel(wheel(entry=entry, manifest=manifest)).display_name == "Made Plugin"


DOTTED = "a." * 16_000 + "b = 1\n"
SEXAGESIMAL = "name: made-plugin\nversion: 1" + ":59" * 66_000 + "\n"


async def test_a_wheel_over_its_time_or_memory_limit_fails_alone() -> None:
    toml = "[napari.manifest]\nmade-plugin = made_plugin:napari.toml\n"
    async with WheelReader(time_limit_s=1) as reader:
        assert (await reader.read(wheel())).is_public
        with pytest.raises(UnusableWheelError, match=r"takes more than 1 s|takes more than 1024 MiB|can't be read"):
            await reader.read(wheel({"made_plugin/napari.toml": DOTTED}, entry=toml))
        assert (await reader.read(wheel())).is_public, "a new process reads the next wheel"
    async with WheelReader(time_limit_s=0.01) as reader:
        with pytest.raises(UnusableWheelError, match=r"takes more than 0.01 s|can't be read"):
            await reader.read(wheel(manifest=SEXAGESIMAL))
