from __future__ import annotations

import pytest
from napari_update_hook.wire import PackageUpdate

from tests.support.facts import package_of
from tests.support.made_upstream import MadeProject
from update_server.index.conda import conda_classes, conda_updates
from update_server.index.model import CondaFile, CondaPackage
from update_server.index.pythons import PythonVersion


def answer(files: list[CondaFile], python: str = "3.11", name: str = "made") -> PackageUpdate:
    import msgspec

    package = msgspec.structs.replace(package_of(MadeProject("made", {}, "1.0")), conda=CondaPackage(name, tuple(files)))
    classes = conda_classes([package], range(6, 16))
    cls = classes.of(PythonVersion.parse(python))
    assert cls is not None
    assert package.conda is not None
    return conda_updates(package, package.conda, classes)[cls.bit]


def file(version: str, *depends: str, constrains: tuple[str, ...] = (), broken: bool = False) -> CondaFile:
    return CondaFile(version, depends, constrains, broken)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([file("1.0", "python >=3.9")], PackageUpdate("1.0")),
        ([file("1.0"), file("1.1", "python >=3.12")], PackageUpdate("1.0", "1.1", ">=3.12")),
        ([file("1.0", "python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311")], PackageUpdate("1.0")),
        (
            [file("1.0", "python >=3.10,<3.11.0a0 *_cpython", "python_abi 3.10.* *_cp310")],
            PackageUpdate(None, "1.0", "==3.10.*"),
        ),
        ([file("1.0", "python_abi 3.11 *_pypy311_pp73")], PackageUpdate(None, "1.0", "")),
        ([file("1.0"), file("1.1", broken=True)], PackageUpdate("1.0", yanked={"1.1": "marked as broken on conda-forge"})),
        ([file("1.1", broken=True), file("1.1", "python >=3.12")], PackageUpdate(None, "1.1", ">=3.12")),
        ([file("1.0"), file("1.1", constrains=("python <3.11",))], PackageUpdate("1.0", "1.1", ">=3.6,<3.11")),
        ([file("1.0", "napari >=99")], PackageUpdate("1.0")),
        ([file("0.10"), file("0.9")], PackageUpdate("0.10")),
        ([file("2021.1_1"), file("2021.1")], PackageUpdate("2021.1_1")),
        ([file("1.0", "python ???")], PackageUpdate("1.0")),
    ],
)
def test_what_python_311_gets_from_conda_forge(files: list[CondaFile], expected: PackageUpdate) -> None:
    assert answer(files) == expected


def test_patch_releases_are_told_apart() -> None:
    files = [file("1.0", "python >=3.9.2")]
    assert answer(files, "3.9").latest is None
    assert answer(files, "3.9.2").latest == "1.0"
