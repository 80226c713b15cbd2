"""HTTP routes for certificates, the published keys, and verification."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Template

from aggregation.certificates.issue import verify_with_store
from aggregation.certificates.keys import key_set
from aggregation.certificates.signing import MAX_BYTES, Outcome, Verdict, retraction_text, text_of
from aggregation.certificates.statement import BREAKDOWNS
from aggregation.stores.aggregate_tables import Certificate
from aggregation.stores.certificates import CertificateStore
from update_server.intake.decoding import SEND_TIMEOUT_S
from update_server.problems import Problem
from update_server.services import Services

KEYS_MAX_AGE_S = 300
TRUSTED_OUTCOMES = (Outcome.VALID, Outcome.RETRACTED)


def certificate_handlers(services: Services) -> list[BaseRouteHandler]:
    store = CertificateStore(services.aggregate.engine)

    async def issued(number: str) -> Certificate:
        certificate = await store.find(number) if re.fullmatch("[0-9a-f]{32}", number) else None
        if certificate is None:
            raise Problem(404, f"This service has not issued a certificate {number[:64]!r}.", pointer="number")
        return certificate

    @get("/.well-known/jwks.json", media_type="application/jwk-set+json", summary="The keys that sign certificates")
    async def keys() -> Response[dict[str, Any]]:
        """Return the public keys as a JSON Web Key Set (RFC 7517). A revoked key has the member ``revoked``."""
        headers = {"cache-control": f"public, max-age={KEYS_MAX_AGE_S}"}
        return Response(key_set(await store.keys()), headers=headers, media_type="application/jwk-set+json")

    @get("/certificates/{number:str}", include_in_schema=False)
    async def page(number: FromPath[str]) -> Template:
        certificate = await issued(number)
        verdict = await verify_with_store(services.aggregate, certificate.token)
        return Template("certificate.html", context=_verdict_context(verdict) | {"number": number})

    @get("/certificates/{number:str}/certificate.jws", media_type="text/plain", summary="A certificate, signed (JWS)")
    async def signed(number: FromPath[str]) -> Response[str]:
        """Return the signed statement as a JSON Web Signature (RFC 7515). `python -m aggregation verify` checks it."""
        certificate = await issued(number)
        return Response(certificate.token + "\n", headers=_file_headers(certificate), media_type="application/jose")

    @get("/verify", include_in_schema=False)
    async def form() -> Template:
        return Template("verify.html", context={"verdict": None})

    @post("/verify", include_in_schema=False, status_code=200)
    async def checked(request: Request[Any, Any, Any]) -> Template:
        verdict = await verify_with_store(services.aggregate, await _submitted_certificate(request))
        return Template("verify.html", context=_verdict_context(verdict))

    return [keys, page, signed, form, checked]


async def _submitted_certificate(request: Request[Any, Any, Any]) -> str:
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            fields = await request.form()
    except TimeoutError as error:
        raise Problem(408, f"The form did not arrive within {SEND_TIMEOUT_S:.0f} seconds.") from error
    except (LookupError, ValueError) as error:  # unknown charset or invalid encoding
        raise Problem(400, "The form can't be decoded. Send it as UTF-8.") from error
    file = fields.get("file")
    if isinstance(file, UploadFile) and (content := await file.read(MAX_BYTES + 1)):
        return text_of(content)
    text = fields.get("certificate")
    return text if isinstance(text, str) else ""


def _verdict_context(verdict: Verdict) -> dict[str, Any]:
    """Return the template's values. They include the statement only if its signature is valid."""
    statement = verdict.statement if verdict.outcome in TRUSTED_OUTCOMES else None
    dimensions = {dimension.name: dimension for dimension in BREAKDOWNS}
    return {
        "verdict": verdict,
        "is_valid": verdict.outcome is Outcome.VALID,
        "statement": statement,
        "issued_at": statement and f"{datetime.fromtimestamp(statement.iat, UTC):%Y-%m-%d %H:%M} UTC",
        "reads": lambda dimension, value: dimensions[dimension].reads(value) if dimension in dimensions else value,
        "retraction_text": retraction_text,
    }


def _file_headers(certificate: Certificate) -> dict[str, str]:
    """Return the headers of a certificate file. Plugin names are letters, digits and hyphens, so need no escaping."""
    name = f"{certificate.plugin}-{certificate.first_week}-{certificate.last_week}.jws"
    return {"content-disposition": f'inline; filename="{name}"', "cache-control": "no-cache"}
