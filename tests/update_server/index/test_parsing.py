from __future__ import annotations

import json

import msgspec
import pytest

from update_server.index.model import CondaFile, CondaPackage, File, Release
from update_server.index.sources.parsing import commands_of, conda_package, project_page

ADDRESS = "https://pypi.example/simple/made/"


def simple(*files: dict[str, object]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "made", "files": files}).encode()


def test_a_project_page_becomes_releases_in_descending_order() -> None:
    page = simple(
        {"filename": "made-0.9-py3-none-any.whl", "requires-python": ">=3.8", "yanked": False},
        {"filename": "made-0.10-py2.py3-none-any.whl", "requires-python": None},
        {"filename": "made-0.10.tar.gz", "requires-python": "", "yanked": "oops"},
        {"filename": "made-0.10-1-cp310-abi3-manylinux1_x86_64.whl", "yanked": True},
    )
    assert project_page(page, ADDRESS).releases == (
        Release(
            "0.10", (File(None, None, ("py2-none", "py3-none")), File(None, "oops", None), File(None, "", ("cp310-abi3",)))
        ),
        Release("0.9", (File(">=3.8", None, ("py3-none",)),)),
    )


def test_a_release_is_as_old_as_its_first_file() -> None:
    page = simple(
        {"filename": "made-1.0-py3-none-any.whl", "upload-time": "2026-03-02T08:00:00.123Z"},
        {"filename": "made-1.0.tar.gz", "upload-time": "2026-03-01T23:59:59Z"},
        {"filename": "made-2.0.tar.gz", "upload-time": "yesterday"},
    )
    assert [release.uploaded for release in project_page(page, ADDRESS).releases] == [None, "2026-03-01"]


def test_another_form_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        project_page(b'{"files": "none"}', ADDRESS)


@pytest.mark.parametrize(
    ("manifest", "commands"),
    [
        ({"contributions": {"commands": [{"id": "a.b", "title": "x"}]}}, ("a.b",)),
        ({"contributions": {"commands": None}}, ()),
        ({"contributions": None}, ()),
        ({}, ()),
    ],
)
def test_the_commands_of_a_manifest(manifest: object, commands: tuple[str, ...]) -> None:
    assert commands_of(json.dumps(manifest).encode()) == commands


def test_of_a_conda_package_only_what_decides_is_kept() -> None:
    def made(version: str, labels: list[str], **attributes: object) -> dict[str, object]:
        return {"version": version, "labels": labels, "attrs": attributes}

    text = json.dumps(
        {
            "name": "made_up",
            "files": [
                made("1.0", ["main"], depends=["python >=3.9", "numpy", "napari >=0.4"], constrains=["pyqt >=5"]),
                made("1.1", ["main", "broken"], depends=None),
                made("2.0rc1", ["made_rc"], depends=[]),
            ],
        }
    ).encode()
    files = (CondaFile("1.0", ("python >=3.9", "napari >=0.4")), CondaFile("1.1", broken=True))
    assert conda_package(text) == CondaPackage("made_up", files)


def test_metadata_is_found_where_the_index_offers_it_by_either_name_and_by_relative_addresses() -> None:
    page = simple(
        {
            "filename": "made-1.0-py3-none-any.whl",
            "url": "../../files/made-1.0-py3-none-any.whl",
            "core-metadata": {"sha256": "0"},
        },
        {"filename": "made-1.1-py3-none-any.whl", "url": "https://files.example/b.whl", "data-dist-info-metadata": True},
        {"filename": "made-1.2-py3-none-any.whl", "url": "https://files.example/c.whl", "core-metadata": False},
    )
    assert project_page(page, ADDRESS).metadata_urls == {
        "1.0": "https://pypi.example/files/made-1.0-py3-none-any.whl.metadata#0",
        "1.1": "https://files.example/b.whl.metadata#",
    }


def test_what_is_passed_over_is_told_with_the_reason() -> None:
    page = simple(
        {"filename": "made-1.0-py3-none-any.whl", "requires-python": "3.6 or later"},
        {"filename": "made-one-py3-none-any.whl"},
        {"filename": "made-1.0-py3.6.egg"},
    )
    told = project_page(page, ADDRESS)
    assert [release.version for release in told.releases] == ["1.0"]
    assert "Requires-Python '3.6 or later' of 1.0 is no specifier" in told.skipped
    assert "made-one-py3-none-any.whl: InvalidWheelFilename" in told.skipped
    assert "egg" not in told.skipped, "pip passes over those without a word too"
