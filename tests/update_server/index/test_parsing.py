from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import pytest
from packaging.utils import canonicalize_name

from update_server.index.model import CondaFile, CondaPackage, File, Release
from update_server.index.sources.parsing import (
    MAX_FILES,
    MAX_PYTHONS,
    TooLargeError,
    commands_of,
    conda_package,
    is_project_name,
    is_version,
    project_page,
    requirements_of,
    requirements_of_metadata,
    version_and_tags,
)

ADDRESS = "https://pypi.example/simple/made/"
KEY = canonicalize_name("made")


def simple(*files: Mapping[str, object]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "made", "files": files}).encode()


def test_a_project_page_becomes_releases_in_descending_order() -> None:
    page = simple(
        {"filename": "made-0.9-py3-none-any.whl", "requires-python": ">=3.8", "yanked": False},
        {"filename": "made-0.10-py2.py3-none-any.whl", "requires-python": None},
        {"filename": "made-0.10.tar.gz", "requires-python": "", "yanked": "oops"},
        {"filename": "made-0.10-1-cp310-abi3-manylinux1_x86_64.whl", "yanked": True},
    )
    assert project_page(page, ADDRESS, KEY).releases == (
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
    assert [release.uploaded for release in project_page(page, ADDRESS, KEY).releases] == [None, "2026-03-01"]


def test_an_invalid_project_page_is_rejected() -> None:
    with pytest.raises(msgspec.MsgspecError):
        project_page(b'{"files": "none"}', ADDRESS, KEY)


@pytest.mark.parametrize(
    ("manifest", "commands"),
    [
        ({"contributions": {"commands": [{"id": "a.b", "title": "x"}]}}, ("a.b",)),
        ({"contributions": {"commands": None}}, ()),
        ({"contributions": None}, ()),
        ({}, ()),
    ],
)
def test_commands_are_read_from_a_manifest(manifest: object, commands: tuple[str, ...]) -> None:
    assert commands_of(json.dumps(manifest).encode()) == commands


def test_only_relevant_data_of_a_conda_package_is_kept() -> None:
    def made(version: str, labels: list[str], **attributes: object) -> dict[str, object]:
        return {"version": version, "labels": labels, "attrs": attributes}

    text = json.dumps(
        {
            "name": "made_up",
            "files": [
                made("1.0", ["main"], depends=["python >=3.9", "numpy >=1", "napari >=0.4"], constrains=["pyqt >=5"]),
                made("1.1", ["main", "broken"], depends=None),
                made("2.0rc1", ["made_rc"], depends=[]),
            ],
        }
    ).encode()
    files = (CondaFile("1.0", ("python >=3.9", "napari >=0.4")), CondaFile("1.1", broken=True))
    assert conda_package(text, frozenset({"napari"})) == CondaPackage("made_up", files)


def test_metadata_urls_support_both_keys_and_relative_urls() -> None:
    page = simple(
        {
            "filename": "made-1.0-py3-none-any.whl",
            "url": "../../files/made-1.0-py3-none-any.whl",
            "core-metadata": {"sha256": "0"},
        },
        {"filename": "made-1.1-py3-none-any.whl", "url": "https://files.example/b.whl", "data-dist-info-metadata": True},
        {"filename": "made-1.2-py3-none-any.whl", "url": "https://files.example/c.whl", "core-metadata": False},
    )
    assert project_page(page, ADDRESS, KEY).metadata_urls == {
        "1.0": "https://pypi.example/files/made-1.0-py3-none-any.whl.metadata#0",
        "1.1": "https://files.example/b.whl.metadata#",
    }


def test_skipped_files_are_reported_with_the_reason() -> None:
    page = simple(
        {"filename": "made-1.0-py3-none-any.whl", "requires-python": "3.6 or later"},
        {"filename": "made-one-py3-none-any.whl"},
        {"filename": "made-1.0-py3.6.egg"},
    )
    told = project_page(page, ADDRESS, KEY)
    assert [release.version for release in told.releases] == ["1.0"]
    assert "Requires-Python '3.6 or later' of 1.0 is not a specifier" in told.skipped
    assert "made-one-py3-none-any.whl: not a valid wheel name" in told.skipped
    assert "egg" not in told.skipped, "pip skips those silently, too"


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("my-plugin-0.9-1.tar.gz", "0.9.post1"),
        ("my-plugin-1.0-beta1.tar.gz", "1.0b1"),
        ("My.Plugin-1.0.tgz", "1.0"),
        ("my_plugin-1.0.tar.bz2", "1.0"),
        ("my-plugin-1.0.zip", "1.0"),
        ("my-plugin-1.0-py3.9.egg", None),
        ("my_plugin-1.0-py3-none-any.whl", "1.0"),
    ],
)
def test_file_names_are_parsed_as_in_pip(filename: str, version: str | None) -> None:
    """Expect the versions of pip 26; `test_references.py` compares with pip itself."""
    found = version_and_tags(filename, canonicalize_name("my-plugin"))
    assert (found[0] if found else None) == version


@pytest.mark.parametrize(
    "filename", ["other-1.0.tar.gz", "made-one.tar.gz", "made.tar.gz", "other-1.0-py3-none-any.whl", f"made-1.0{'0' * 300}.zip"]
)
def test_file_names_of_other_projects_are_rejected(filename: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        version_and_tags(filename, KEY)


def test_null_counts_as_missing() -> None:
    page = simple({"filename": "made-1.0-py3-none-any.whl", "yanked": None, "upload-time": None, "core-metadata": None})
    assert project_page(page, ADDRESS, KEY).releases == (Release("1.0", (File(None, None, ("py3-none",)),)),)


def test_wheel_tags_are_limited_before_expansion() -> None:
    many = ".".join(f"p{number}" for number in range(18))
    page = simple(*({"filename": f"made-1.{number}-{many}-{many}-{many}.whl"} for number in range(300)))
    found = project_page(page, ADDRESS, KEY)
    assert found.releases == ()
    assert "more than 64 tags" in found.skipped


def test_the_python_versions_of_a_project_are_limited() -> None:
    def excluding(number: int) -> str:
        return ",".join(f"!=3.9.{20 * number + patch}" for patch in range(20))

    page = simple(
        *({"filename": f"made-{number}.0.tar.gz", "requires-python": excluding(number)} for number in range(171)),
    )
    found = project_page(page, ADDRESS, KEY)
    assert len(found.releases) == MAX_PYTHONS // 20
    assert found.releases[0].version == "170.0", "the newest are kept"
    assert "170 releases: more than 30 versions of Python are named" in found.skipped


def test_the_files_of_a_project_are_limited() -> None:
    page = simple(*({"filename": f"made-{number}.tar.gz"} for number in range(MAX_FILES + 10)))
    found = project_page(page, ADDRESS, KEY)
    assert len(found.releases) == MAX_FILES
    assert found.skipped.startswith("5010 files")


MINORS = range(8, 20)


def test_only_applicable_versioned_requirements_are_kept() -> None:
    metadata = b"""Metadata-Version: 2.1
Name: made
Version: 1.0
Requires-Dist: numpy
Requires-Dist: napari>=0.5
Requires-Dist: npe2 >=0.8; python_version < '3.12'
Requires-Dist: napari<0.7; extra == 'old'
Requires-Dist: other>1; python_version < '3'

A text with the line
Requires-Dist: evil>=1
"""
    assert requirements_of_metadata(metadata, MINORS).requires == ("napari>=0.5", "npe2 >=0.8; python_version < '3.12'")


def test_an_invalid_requirement_invalidates_the_release() -> None:
    found = requirements_of(["napari>=0.5", "numpy (>=1.19.*)"], MINORS)
    assert (found.requires, found.is_invalid) == ((), True)
    assert "numpy (>=1.19.*)" in found.note


def test_requirements_for_single_patch_releases_are_kept() -> None:
    texts = (
        "napari<0.5; python_full_version >= '3.8.1' and python_version < '3.9'",
        "napari>1; python_full_version == '3.11.4'",
    )
    assert requirements_of(texts, MINORS).requires == texts


@pytest.mark.parametrize(
    "requires",
    [
        [f"napari>=0.4.{number}; python_version < '3.0' or python_version > '3'" for number in range(5_000)],
        ["napari; " + " or ".join(f"python_full_version == '3.9.{number}'" for number in range(1_000))],
        [f"package-{number}>=1" for number in range(400)],
        [f"package-{number}>=1; python_version > '3.9'" for number in range(40)],
    ],
    ids=["lines", "length", "kept", "markers"],
)
def test_requirements_are_limited(requires: list[str]) -> None:
    with pytest.raises(TooLargeError):
        requirements_of(requires, MINORS)


def test_the_size_and_name_of_a_conda_package_are_checked() -> None:
    def text(name: str, files: int = 1, depends: int = 1) -> bytes:
        made = {"version": "1.0", "labels": ["main"], "attrs": {"depends": ["python >=3.9"] * depends}}
        return json.dumps({"name": name, "files": [made] * files}).encode()

    assert conda_package(text("made"), frozenset()) is not None
    assert conda_package(text("https://x.example"), frozenset()) is None
    for too_large in (text("made", files=6_000), text("made", depends=400)):
        with pytest.raises(TooLargeError):
            conda_package(too_large, frozenset())


def test_invalid_names_and_versions_are_rejected() -> None:
    for name in ("<script>alert(1)</script>", "../../etc/passwd", "a b", "a\u202eb", "a\n", "-a", "", 7, "x" * 200):
        assert not is_project_name(name), name
    for version in ("latest", "<b>", "1.0 ", "1" * 200, None):
        assert not is_version(version) or version == "1.0 ", version
    assert is_project_name("Some.Plugin_2")
