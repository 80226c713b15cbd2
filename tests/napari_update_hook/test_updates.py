from __future__ import annotations

import pytest
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.updates import Status, UpdateRow, update_rows
from napari_update_hook.wire import PackageUpdate


def row(installed: str, update: PackageUpdate, *, is_local: bool = False, fits_known: bool = True) -> UpdateRow:
    distributions = {"affinder": Distribution("affinder", installed, is_local)}
    here = Environment("3.10.2", "linux", "x86_64", "Debian 12", "pypi", distributions)
    return update_rows(here, {"affinder": update, "other": PackageUpdate("1")}, fits_known=fits_known)[0]


@pytest.mark.parametrize(
    ("installed", "update", "status", "note"),
    [
        ("0.5.0", PackageUpdate("0.5.0"), Status.UP_TO_DATE, ""),
        ("0.4.0", PackageUpdate("0.5.0"), Status.UPDATE, ""),
        ("0.6.0.dev1", PackageUpdate("0.5.0"), Status.AHEAD, ""),
        ("0.10", PackageUpdate("0.9"), Status.AHEAD, ""),
        (
            "0.1.2",
            PackageUpdate("0.1.2", "0.1.3", ">=3.12"),
            Status.UP_TO_DATE,
            "0.1.3 needs Python >=3.12; this is 3.10",
        ),
        ("0.1.2", PackageUpdate(None, "0.1.3", ">=3.12"), Status.UP_TO_DATE, "0.1.3 needs Python >=3.12; this is 3.10"),
        ("1.0", PackageUpdate("1.0", yanked={"1.0": "broken wheel"}), Status.UP_TO_DATE, "1.0 was withdrawn: broken wheel"),
        ("nonsense", PackageUpdate("1.0"), Status.UNKNOWN, ""),
    ],
)
def test_what_is_told_of_an_installed_package(installed: str, update: PackageUpdate, status: Status, note: str) -> None:
    told = row(installed, update)
    assert (told.status, told.note) == (status, note)


def test_a_newest_that_is_installed_already_needs_no_explanation() -> None:
    assert row("0.1.3", PackageUpdate(None, "0.1.3", ">=3.12")).note == ""


def test_a_local_install_is_named_as_one() -> None:
    assert "local" in row("0.4.0", PackageUpdate("0.5.0"), is_local=True).note


def test_where_the_server_cannot_tell_that_is_said() -> None:
    assert "can't tell" in row("0.4.0", PackageUpdate("0.5.0"), fits_known=False).note


def test_napari_comes_first_and_what_is_not_installed_does_not_come() -> None:
    distributions = {name: Distribution(name, "1.0") for name in ("zebra", "affinder", "napari")}
    here = Environment("3.10.2", "linux", "x86_64", "Debian 12", "pypi", distributions)
    packages = {name: PackageUpdate("1.0") for name in ("affinder", "napari", "not-here", "zebra")}
    assert [told.name for told in update_rows(here, packages)] == ["napari", "affinder", "zebra"]
