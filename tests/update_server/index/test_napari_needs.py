from __future__ import annotations

import pytest
from packaging.version import Version

from update_server.index.napari_needs import admitted, napari_requirements
from update_server.index.pythons import PythonClasses

CLASSES = PythonClasses({}, range(9, 14))


@pytest.mark.parametrize(
    ("requires_dist", "kept"),
    [
        (["numpy", "napari>=0.5", "napari-plugin-engine<2"], ("napari>=0.5",)),
        (["napari"], ()),
        (["NAPARI[all] (>=0.4,<0.7)"], ("NAPARI[all] (>=0.4,<0.7)",)),
        (["napari<0.5; extra == 'testing'"], ()),
        (["napari<0.5; python_version < '3.11'"], ("napari<0.5; python_version < '3.11'",)),
        (["napari<0.5; sys_platform == 'win32'"], ("napari<0.5; sys_platform == 'win32'",)),
        (["napari<0.5; python_version < '3'"], ()),
        (["napari <<< nonsense", ""], ()),
        (["napari<0.5; os_name >= 'nonsense-1'", "napari<0.6; sys_platform ~= 'x'"], ()),
    ],
)
def test_what_decides_is_kept_as_published(requires_dist: list[str], kept: tuple[str, ...]) -> None:
    assert napari_requirements(requires_dist) == kept


@pytest.mark.parametrize(
    ("requirements", "napari", "minors"),
    [
        (None, "0.6.1", {9, 10, 11, 12, 13}),
        ((), "0.6.1", {9, 10, 11, 12, 13}),
        (("napari<0.6",), "0.6.1", set()),
        (("napari>=0.6",), "0.6.1", {9, 10, 11, 12, 13}),
        (("napari>=0.6",), "0.6.1rc2", {9, 10, 11, 12, 13}),
        (("napari<0.6; python_version < '3.11'",), "0.6.1", {11, 12, 13}),
        (("napari<0.6; sys_platform == 'win32'",), "0.6.1", {9, 10, 11, 12, 13}),
        (("napari<0.6; sys_platform == 'win32'", "napari<0.5; sys_platform != 'win32'"), "0.6.1", set()),
    ],
)
def test_a_napari_is_ruled_out_only_where_it_is_on_every_platform(
    requirements: tuple[str, ...] | None, napari: str, minors: set[int]
) -> None:
    found = admitted(requirements, Version(napari), CLASSES)
    assert {cls.representative.minor for cls in CLASSES.classes if found >> cls.bit & 1} == minors
