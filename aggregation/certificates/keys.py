"""Keys that sign certificates: private halves in a folder, public halves published in the aggregate store.

Earlier keys stay published, so their certificates stay valid. A revoked key stays published, but its certificates are invalid.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from aggregation.certificates.signing import ALGORITHM
from aggregation.certificates.statement import CertificateError
from aggregation.stores.aggregate_tables import SigningKey


def new_key(folder: Path, now: datetime) -> SigningKey:
    """Create a key, save its private half in ``folder``, and return the public half."""
    key = OKPKey.generate_key("Ed25519", private=True)
    while (kid := key.thumbprint()).startswith("-"):  # the command line would parse it as an option
        key = OKPKey.generate_key("Ed25519", private=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(private_file(folder, kid), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(key.as_dict(private=True), file)
        file.flush()
        os.fsync(file.fileno())
    return SigningKey(kid=kid, public=key.as_dict(private=False), created_at=now)


def private_file(folder: Path, kid: str) -> Path:
    return folder / f"{kid}.private.json"


def signing_key(folder: Path, keys: Sequence[SigningKey]) -> OKPKey:
    """Return the newest key that is not revoked. Raises CertificateError."""
    active = [key for key in keys if key.revoked_at is None]
    if not active:
        raise CertificateError("There is no key to sign with: run `python -m aggregation keys create`.")
    newest = max(active, key=lambda key: key.created_at)
    file = private_file(folder, newest.kid)
    try:
        key = OKPKey.import_key(json.loads(file.read_text("utf-8")))
        if key.thumbprint() != newest.kid:
            raise ValueError("the file contains another key")
    except (OSError, ValueError, JoseError) as error:
        raise CertificateError(
            f"The private half of the key {newest.kid} is not in {folder}: set AGGREGATION_KEYS to its folder, or create "
            "another key with `python -m aggregation keys create`."
        ) from error
    return key


def key_set(keys: Sequence[SigningKey]) -> dict[str, Any]:
    """Return a JSON Web Key Set (RFC 7517), with ``revoked`` as in OpenID Federation."""
    return {"keys": [_as_jwk(key) for key in sorted(keys, key=lambda key: (key.created_at, key.kid))]}


def _as_jwk(key: SigningKey) -> dict[str, Any]:
    jwk: dict[str, Any] = {**key.public, "kid": key.kid, "use": "sig", "alg": ALGORITHM, "iat": int(key.created_at.timestamp())}
    if key.revoked_at is not None:
        jwk["revoked"] = {"revoked_at": int(key.revoked_at.timestamp()), "reason": key.revoked_because or ""}
    return jwk


def parse_key_set(document: Any) -> dict[str, SigningKey]:
    """Return the usable keys of a JSON Web Key Set. Raises CertificateError."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise CertificateError("This is not a key set: save the file /.well-known/jwks.json of the service.")
    keys = {}
    for jwk in listed:
        try:
            public = {name: jwk[name] for name in ("kty", "crv", "x")}
            kid = OKPKey.import_key(public).thumbprint()  # don't trust the file's kid
            revoked = jwk.get("revoked")
            keys[kid] = SigningKey(
                kid=kid,
                public=public,
                created_at=datetime.fromtimestamp(jwk.get("iat", 0), UTC),
                revoked_at=datetime.fromtimestamp(revoked["revoked_at"], UTC) if revoked else None,
                revoked_because=str(revoked.get("reason") or "") if revoked else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, JoseError):
            continue  # an unsupported type of key
    return keys
