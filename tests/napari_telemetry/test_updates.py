from __future__ import annotations

import pytest
from napari_telemetry.environment import Distribution, Environment
from napari_telemetry.updates import Sight, Status, UpdateRow, summary_of, update_rows
from napari_telemetry.wire import PackageUpdate

from tests.support.client import NOON, PLACE


def row(installed: str, update: PackageUpdate, *, is_local: bool = False, fits_known: bool = True) -> UpdateRow:
    distributions = {"affinder": Distribution("affinder", installed, is_local)}
    here = Environment("3.10.2", "linux", "x86_64", "Debian 12", "pypi", distributions)
    sight = Sight(here, PLACE, NOON, fits_known=fits_known)
    return update_rows({"affinder": update, "other": PackageUpdate("1")}, sight)[0]


@pytest.mark.parametrize(
    ("installed", "update", "status", "note"),
    [
        ("0.5.0", PackageUpdate("0.5.0"), Status.UP_TO_DATE, ""),
        ("0.4.0", PackageUpdate("0.5.0"), Status.UPDATE, ""),
        ("0.6.0.dev1", PackageUpdate("0.5.0"), Status.AHEAD, ""),
        ("0.10", PackageUpdate("0.9"), Status.AHEAD, ""),
        ("0.1.2", PackageUpdate("0.1.2", "0.1.3", ">=3.12"), Status.UP_TO_DATE, "0.1.3 needs Python >=3.12; this is 3.10"),
        ("0.1.2", PackageUpdate(None, "0.1.3", ">=3.12"), Status.UP_TO_DATE, "0.1.3 needs Python >=3.12; this is 3.10"),
        (
            "1.0",
            PackageUpdate("1.0", yanked={"1.0": "broken wheel"}),
            Status.UP_TO_DATE,
            "1.0 was withdrawn by its authors: broken wheel",
        ),
        ("nonsense", PackageUpdate("1.0"), Status.UNKNOWN, ""),
    ],
)
def test_what_is_told_of_an_installed_package(installed: str, update: PackageUpdate, status: Status, note: str) -> None:
    told = row(installed, update)
    assert (told.status, told.note) == (status, note)


def test_an_installed_release_that_was_withdrawn_or_is_vulnerable_needs_attention() -> None:
    withdrawn = row("1.0", PackageUpdate("1.0", yanked={"1.0": ""}))
    assert (withdrawn.withdrawn, withdrawn.needs_attention) == ("", True)
    vulnerable = row("1.0", PackageUpdate("1.0", vulnerabilities={"1.0": ["PYSEC-2026-1"], "0.9": ["OLD"]}))
    assert vulnerable.vulnerabilities == ["PYSEC-2026-1"]
    assert "PYSEC-2026-1" in vulnerable.note
    assert vulnerable.needs_attention
    assert not row("1.0", PackageUpdate("1.0", yanked={"0.9": ""}, vulnerabilities={"0.9": ["OLD"]})).needs_attention
    assert "should not be used" in summary_of([vulnerable, withdrawn])


def test_a_newest_that_needs_another_napari_says_so() -> None:
    here = Environment(
        "3.12.1", "linux", "x86_64", "Debian 12", "pypi", {n: Distribution(n, "0.6.1") for n in ("napari", "micro-sam")}
    )
    update = PackageUpdate("0.6.1", "1.8", newest_requires_napari=">=0.7")
    told = update_rows({"micro-sam": update}, Sight(here, PLACE, NOON))[0]
    assert told.note == "1.8 needs napari >=0.7; this is 0.6.1"


def test_a_withdrawn_release_that_is_ahead_comes_with_the_way_back() -> None:
    ahead = row("0.6.0", PackageUpdate("0.5.0", yanked={"0.6.0": "broken"}))
    assert (ahead.status, ahead.needs_attention) == (Status.AHEAD, True)
    assert str(ahead.command).endswith("affinder==0.5.0")
