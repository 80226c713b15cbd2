from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from aggregation.certificates.keys import key_set, new_key, parse_key_set, signing_key
from aggregation.certificates.signing import ALGORITHM, TYPE, Outcome, sign, text_of, verify
from aggregation.certificates.statement import CertificateError
from aggregation.stores.aggregate_tables import SigningKey
from tests.support.certificates import ISSUED, altered, part, retraction, statement

KEY = OKPKey.generate_key("Ed25519", private=True)
OTHER = OKPKey.generate_key("Ed25519", private=True)
KEYS = {KEY.thumbprint(): SigningKey(kid=KEY.thumbprint(), public=KEY.as_dict(private=False), created_at=ISSUED)}
TOKEN = sign(statement(), KEY)


def test_a_certificate_is_an_ordinary_jws() -> None:
    assert part(TOKEN, 0) == {"alg": "Ed25519", "kid": KEY.thumbprint(), "typ": TYPE}
    assert part(TOKEN, 1)["installs"] == {"median": 20, "peak": 35, "peak_week": "2026-W39", "listed": 2}


@pytest.mark.parametrize(
    "token",
    [
        altered(TOKEN, 1, sub="napari-svg"),
        altered(TOKEN, 1, installs={"median": 500, "peak": 900, "peak_week": "2026-W39", "listed": 2}),
        altered(TOKEN, 1, extra=1),
        TOKEN[:-20] + ("A" if TOKEN[-20] != "A" else "B") + TOKEN[-19:],
        TOKEN.rsplit(".", 1)[0] + ".",
        altered(TOKEN, 0, crit=["b64"], b64=False),
        altered(sign(statement(), OTHER), 0, kid=KEY.thumbprint()),
    ],
)
def test_an_altered_certificate_is_detected(token: str) -> None:
    verdict = verify(token, KEYS, [])
    assert (verdict.outcome, verdict.statement) == (Outcome.ALTERED, None)
    assert "altered" in verdict.explanation


@pytest.mark.parametrize("place", range(0, len(TOKEN), 37))
def test_any_changed_character_is_detected(place: int) -> None:
    letter = "A" if TOKEN[place] != "A" else "B"
    verdict = verify(TOKEN[:place] + letter + TOKEN[place + 1 :], KEYS, [])
    assert verdict.outcome in (Outcome.ALTERED, Outcome.UNKNOWN_KEY, Outcome.UNREADABLE)


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (retraction(when=ISSUED + timedelta(days=3)), Outcome.RETRACTED),
        (retraction(when=ISSUED + timedelta(days=3), plugin="affinder"), Outcome.RETRACTED),
        (retraction("plugins-by-python", ISSUED + timedelta(days=3), plugin="affinder", python="3.11"), Outcome.RETRACTED),
        (retraction(when=ISSUED + timedelta(days=3), plugin="napari-svg"), Outcome.VALID),
        (retraction(when=ISSUED + timedelta(days=3), week="2026-W30"), Outcome.VALID),
        (retraction("people", ISSUED + timedelta(days=3)), Outcome.VALID),
        (retraction(when=ISSUED + timedelta(days=3), week="2026-W50"), Outcome.VALID),
        (retraction(when=ISSUED), Outcome.RETRACTED),
        # counts as newer despite its date, because the certificate does not name it
        (retraction(when=ISSUED - timedelta(days=3)), Outcome.RETRACTED),
    ],
)
def test_a_later_retraction_of_a_certified_number_is_detected(one: object, outcome: Outcome) -> None:
    verdict = verify(TOKEN, KEYS, [one])  # type: ignore[list-item]
    assert verdict.outcome is outcome
    if outcome is Outcome.RETRACTED:
        assert "Forged reports." in verdict.explanation
        assert verdict.statement == statement()


def test_a_retraction_named_in_the_certificate_keeps_it_valid() -> None:
    one = retraction(when=ISSUED - timedelta(days=3))
    token = sign(statement({"2026-W38": 20}, retractions=(one,)), KEY)
    assert verify(token, KEYS, [one]).outcome is Outcome.VALID
    assert verify(token, KEYS, [one, retraction(when=ISSUED, week="2026-W38")]).outcome is Outcome.RETRACTED


def test_a_certificate_too_large_to_verify_is_not_signed() -> None:
    many = tuple(retraction(when=ISSUED - timedelta(days=number), plugin="affinder") for number in range(1, 600))
    with pytest.raises(CertificateError, match="fewer weeks"):
        sign(statement(retractions=many), KEY)
    fits = sign(statement(retractions=many[:300]), KEY)
    assert verify(fits, KEYS, many).outcome is Outcome.RETRACTED
    assert verify(fits, KEYS, many[:300]).outcome is Outcome.VALID


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_certificate_saved_again_by_an_editor_stays_valid(encoding: str) -> None:
    assert verify(text_of(f"{TOKEN}\r\n".encode(encoding)), KEYS, []).outcome is Outcome.VALID


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "a.b.c", "..", TOKEN.split(".")[0], "\x00" * 50, "ü", "A" * 300_000, altered(TOKEN, 0, alg="none"),
        altered(TOKEN, 0, alg="HS256"), altered(TOKEN, 0, typ="JWT"), altered(TOKEN, 0, kid=7), altered(TOKEN, 0, kid=None),
    ],
)  # fmt: skip
def test_other_texts_are_unreadable(text: str) -> None:
    verdict = verify(text, KEYS, [])
    assert (verdict.outcome, verdict.statement) == (Outcome.UNREADABLE, None)


def test_other_signed_documents_are_not_certificates() -> None:
    token = jws.serialize_compact(
        {"alg": ALGORITHM, "kid": KEY.thumbprint(), "typ": TYPE}, b'{"sub": "affinder"}', KEY, algorithms=[ALGORITHM]
    )
    verdict = verify(token, KEYS, [])
    assert (verdict.outcome, verdict.statement) == (Outcome.UNREADABLE, None)
    assert "another version" in verdict.explanation


def test_keys_are_stored_privately_and_published(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    made = new_key(folder, ISSUED)
    (file,) = folder.iterdir()
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "d" not in made.public
    key = signing_key(folder, [made])
    token = sign(statement(), key)
    keys = parse_key_set(json.loads(json.dumps(key_set([made]))))
    assert verify(token, keys, []).outcome is Outcome.VALID
    assert "d" not in key_set([made])["keys"][0]


def test_a_missing_or_wrong_private_key_is_reported(tmp_path: Path) -> None:
    made = new_key(tmp_path, ISSUED)
    with pytest.raises(CertificateError, match="AGGREGATION_KEYS"):
        signing_key(tmp_path / "elsewhere", [made])
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(OTHER.as_dict(private=True)))
    with pytest.raises(CertificateError):
        signing_key(tmp_path, [made])


def test_a_key_set_cannot_change_a_key_id() -> None:
    forged = {"keys": [{**OTHER.as_dict(private=False), "kid": KEY.thumbprint()}]}
    assert verify(TOKEN, parse_key_set(forged), []).outcome is Outcome.UNKNOWN_KEY
    assert verify(altered(sign(statement(), OTHER), 0, kid=KEY.thumbprint()), parse_key_set(forged), []).statement is None
