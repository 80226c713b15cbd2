from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from aggregation.certificates.keys import key_set
from aggregation.stores.certificates import CertificateStore
from tests.aggregation.cli.conftest import Command
from tests.support.certificates import altered
from tests.support.reports import WEEK

REASON = "The machine that held it was stolen"


@pytest.fixture
def issued(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGGREGATION_PUBLIC_URL", "https://updates.example.org/")
    command.publish(W39=40, W40=25)
    command("keys", "create")
    command("certify", "Affinder", "--from", "2026-W39", "--to", WEEK, "-o", str(tmp_path))
    return tmp_path / f"affinder-2026-W39-{WEEK}.jws"


def test_a_certificate_is_a_signed_file(command: Command, issued: Path) -> None:
    told = command.json("verify", str(issued))
    assert (told["outcome"], told["plugin"], told["from"], told["to"]) == ("valid", "affinder", "2026-W39", WEEK)
    assert "median 25, peak 40" in command("verify", str(issued)).output


def saved_keys(command: Command, tmp_path: Path) -> str:
    async def keys(_: object, aggregate: object) -> object:
        return key_set(await CertificateStore(aggregate.engine).keys())  # type: ignore[attr-defined]

    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(command.on_stores(keys)))
    return str(file)


def test_a_certificate_is_verified_offline_with_saved_keys(
    command: Command, issued: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = saved_keys(command, tmp_path)
    monkeypatch.setenv("UPDATE_SERVER_DATA", str(tmp_path / "no store here"))
    told = command.json("verify", str(issued), "--keys", keys)
    assert (told["outcome"], told["retractions_known"]) == ("valid", False)
    issued.write_text(altered(issued.read_text().strip(), 1, sub="napari-svg"))
    assert "altered" in command("verify", str(issued), "--keys", keys, code=1).output.lower()
    assert "can't be read" in command("verify", str(issued), "--keys", "/nowhere.json", code=2).output
    (tmp_path / "other.json").write_text("[]")
    assert "jwks.json" in command("verify", str(issued), "--keys", str(tmp_path / "other.json"), code=2).output


def test_each_problem_has_its_own_outcome(command: Command, issued: Path, tmp_path: Path) -> None:
    genuine = issued.read_text()
    issued.write_text(altered(genuine.strip(), 1, sub="napari-svg"))
    assert command.json("verify", str(issued), code=1)["outcome"] == "altered"
    issued.write_text("hello")
    assert command.json("verify", str(issued), code=1)["outcome"] == "unreadable"
    issued.write_text(genuine)
    (tmp_path / "none.json").write_text('{"keys": []}')
    assert command.json("verify", str(issued), "--keys", str(tmp_path / "none.json"), code=1)["outcome"] == "unknown key"
    command("retract", "--plugin", "affinder", "--from", WEEK, "--reason", "A script had forged reports", "--yes")
    told = command.json("verify", str(issued), code=1)
    assert told["outcome"] == "retracted"
    assert "A script had forged reports." in told["explanation"]
    command("keys", "revoke", told["kid"], "--reason", REASON, "--yes")
    told = command.json("verify", str(issued), code=1)
    assert told["outcome"] == "revoked key"
    assert REASON in told["explanation"]


def test_certificates_stay_valid_after_key_rotation(command: Command, issued: Path, tmp_path: Path) -> None:
    command("keys", "create")
    assert command.json("verify", str(issued))["outcome"] == "valid"
    command("certify", "affinder", "--from", WEEK, "--to", WEEK, "-o", str(tmp_path))
    newer = command.json("verify", str(tmp_path / f"affinder-{WEEK}-{WEEK}.jws"))
    assert newer["kid"] != command.json("verify", str(issued))["kid"]
    assert newer["kid"] in command("keys", "list").output


@pytest.mark.usefixtures("issued")
def test_the_key_list_shows_missing_private_keys(command: Command, folder: Path) -> None:
    (private_half,) = (folder / "keys").iterdir()
    private_half.unlink()
    assert "not here" in command("keys", "list").output


def test_a_revoked_key_cannot_sign(command: Command, issued: Path, folder: Path, tmp_path: Path) -> None:
    kid = command.json("verify", str(issued))["kid"]
    assert "--yes" in command("keys", "revoke", kid, "--reason", REASON, code=2).output
    assert len(list((folder / "keys").iterdir())) == 1
    command("keys", "revoke", kid, "--reason", REASON, "--yes")
    assert list((folder / "keys").iterdir()) == []
    assert "keys create" in command("certify", "affinder", "--from", WEEK, "--to", WEEK, code=2).output
    assert "already revoked" in command("keys", "revoke", kid, "--reason", REASON, "--yes", code=2).output
    command("keys", "create")
    command("certify", "affinder", "--from", WEEK, "--to", WEEK, "-o", str(tmp_path))


def test_an_unwritable_certificate_is_not_published(command: Command, issued: Path, folder: Path) -> None:
    result = command("certify", "affinder", "--from", WEEK, "--to", WEEK, "-o", "/proc/nowhere", code=1)
    assert "/proc/nowhere" in result.output
    with sqlite3.connect(folder / "aggregate.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM certificates").fetchone() == (1,)


def test_a_localhost_address_needs_confirmation(
    command: Command, issued: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGGREGATION_PUBLIC_URL", "http://localhost:8000")
    asked = ["certify", "affinder", "--from", WEEK, "--to", WEEK, "-o", str(tmp_path / "local")]
    assert "AGGREGATION_PUBLIC_URL" in command(*asked, code=2).output
    assert not (tmp_path / "local").exists()
    assert command.json(*asked, "--yes")["address"].startswith("http://localhost:8000/certificates/")
