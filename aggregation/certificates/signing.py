"""Sign and verify statements: JSON Web Signatures with Ed25519 (RFC 7515, RFC 9864)."""

import codecs
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from msgspec import Struct

from aggregation.catalogue import CATALOGUE
from aggregation.certificates.statement import CertificateError, Statement, certificate_entries, may_affect_certificate
from aggregation.stores.aggregate_tables import SigningKey
from aggregation.stores.records import Retraction

ALGORITHM = "Ed25519"
TYPE = "napari-plugin-certificate+jws"
MAX_BYTES = 96 * 1024
"""Enough for several hundred weeks and their retractions."""
UNREADABLE = "This is not a complete certificate: one line of text in three parts, separated by dots, in a .jws file."
NOT_PUBLISHED = "which is not published: this service did not issue it, or your list of keys is older than the certificate."
ALTERED = "It was altered after it was signed: the signature does not match the text. Don't trust its numbers."
OTHER_VERSION = "This service signed it, but in another version, whose statements can't be read. Ask for a new certificate."
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


class Outcome(StrEnum):
    VALID = "valid"
    UNREADABLE = "unreadable"
    UNKNOWN_KEY = "unknown key"
    ALTERED = "altered"
    REVOKED_KEY = "revoked key"
    RETRACTED = "retracted"


class Verdict(Struct, frozen=True):
    """The result of a verification. ``statement``: None if not authentic. ``retracted``: sentences, see `retracted_since`.

    ``retractions_known``: whether retractions could be looked up.
    """

    outcome: Outcome
    explanation: str
    statement: Statement | None = None
    kid: str | None = None
    retracted: list[str] = msgspec.field(default_factory=list)
    retractions_known: bool = True


def sign(statement: Statement, key: OKPKey) -> str:
    """Return the signed statement as one line of text. Raises CertificateError."""
    header = {"alg": ALGORITHM, "kid": key.thumbprint(), "typ": TYPE}
    token = jws.serialize_compact(header, msgspec.json.encode(statement), key, algorithms=[ALGORITHM])
    if len(token) > MAX_BYTES:
        raise CertificateError(
            f"The certificate would have {len(token):,} bytes; the limit is {MAX_BYTES:,}. It covers too many weeks or "
            "retractions. Choose fewer weeks."
        )
    return token


def text_of(raw: bytes) -> str:
    """Decode a text file, UTF-8 or UTF-16 with a byte order mark."""
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    return raw.decode("utf-8", "replace")


def verify(token: str, keys: Mapping[str, SigningKey], retractions: Sequence[Retraction] | None) -> Verdict:
    """Verify a certificate. ``keys``: published keys by id. ``retractions``: None if unknown."""
    token = "".join(token.split())  # e-mail adds line breaks
    try:
        if len(token) > MAX_BYTES:
            raise ValueError("too long")
        header = jws.extract_compact(token.encode("ascii")).headers()
        kid = str(header.get("kid") or "")
        if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or not _THUMBPRINT.fullmatch(kid):
            raise ValueError("not a certificate")
    except (JoseError, ValueError, TypeError):
        return Verdict(Outcome.UNREADABLE, UNREADABLE)
    key = keys.get(kid)
    if key is None:
        return Verdict(Outcome.UNKNOWN_KEY, f"It is signed with the key {kid}, {NOT_PUBLISHED}", kid=kid)
    try:
        signed = jws.deserialize_compact(token, OKPKey.import_key(key.public), algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        return Verdict(Outcome.ALTERED, ALTERED, kid=kid)
    try:
        statement = msgspec.json.decode(signed.payload, type=Statement)
    except msgspec.DecodeError:
        return Verdict(Outcome.UNREADABLE, OTHER_VERSION, kid=kid)
    if key.revoked_at is not None:
        why = f"which was revoked on {key.revoked_at:%Y-%m-%d}: {_sentence(key.revoked_because)}"
        summary = f"It is signed with the key {kid}, {why} Don't trust it; ask for a new one."
        return Verdict(Outcome.REVOKED_KEY, summary, statement, kid)
    summary = f"It is signed by {statement.iss} and unaltered"
    if retractions is None:
        summary += f". Check at {statement.iss}/verify whether a number was retracted since it was issued."
        return Verdict(Outcome.VALID, summary, statement, kid, retractions_known=False)
    if since := retracted_since(statement, retractions):
        summary = f"It is genuine, but some of its numbers were retracted after it was issued: {' '.join(since)}"
        return Verdict(Outcome.RETRACTED, summary, statement, kid, since)
    return Verdict(Outcome.VALID, f"{summary}, and none of its numbers has been retracted since.", statement, kid)


def retracted_since(statement: Statement, retractions: Sequence[Retraction]) -> list[str]:
    """Return, as sentences, the retractions that the statement does not list.

    Timestamps are not compared: clocks may differ.
    """
    needed = {name: entry for name, entry in certificate_entries().items() if entry.id in statement.entries}
    return [
        f"{retraction_text(one)} on {one.retracted_at[:10]}: {_sentence(one.reason)}"
        for one in retractions
        if one.last_week >= statement.first_week
        and one.first_week <= statement.last_week
        and may_affect_certificate(one, needed, statement.sub)
        and one not in statement.retractions
    ]


def retraction_text(one: Retraction) -> str:
    """Return which numbers a retraction covers, for the start of a sentence."""
    question = next((entry.question for entry in CATALOGUE if entry.id == one.entry), one.entry)
    whose = f" ({', '.join(f'{name} {value}' for name, value in one.of.items())})" if one.of else ""
    weeks = one.first_week if one.first_week == one.last_week else f"{one.first_week} to {one.last_week}"
    return f'"{question}"{whose}, {weeks},'


def _sentence(reason: str | None) -> str:
    text = (reason or "no reason was given").strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
