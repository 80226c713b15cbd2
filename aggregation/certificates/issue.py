"""Issue certificates, and verify them against the store."""

import uuid
from datetime import datetime
from pathlib import Path

from napari_telemetry.weeks import week_of

from aggregation.catalogue import PLUGIN
from aggregation.certificates.keys import signing_key
from aggregation.certificates.signing import Verdict, sign, verify
from aggregation.certificates.statement import (
    MAX_CERTIFIED_WEEKS,
    CertificateError,
    Statement,
    certificate_entries,
    make_statement,
    weeks_between,
)
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import Certificate
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.records import Records


async def prepare(
    aggregate: AggregateStore, *, site: str, key_folder: Path, plugin: str, first: str, last: str, now: datetime
) -> tuple[Certificate, Statement]:
    """Sign a statement about weeks ``first`` to ``last``, inclusive. The caller adds it to the CertificateStore.

    Raises CertificateError and InvalidWeekError.
    """
    if last < first:
        raise CertificateError(f"{last} is before {first}: swap the weeks.")
    if last > week_of(now):
        raise CertificateError(f"{last} has not begun: it is {week_of(now)}.")
    if len(weeks_between(first, last)) > MAX_CERTIFIED_WEEKS:
        raise CertificateError(f"{first} to {last} is more than {MAX_CERTIFIED_WEEKS} weeks, the maximum for a certificate.")
    key = signing_key(key_folder, await CertificateStore(aggregate.engine).keys())
    # Read retractions first: if one is added meanwhile, the statement lacks it and verification reports it.
    retractions = await Records(aggregate.engine).retractions(since=first, until=last)
    rows = {
        dimension: await aggregate.numbers(entry, {PLUGIN.name: plugin}, since=first, until=last)
        for dimension, entry in certificate_entries().items()
    }
    statement = make_statement(
        site=site,
        number=uuid.uuid4().hex,
        now=now,
        plugin=plugin,
        first=first,
        last=last,
        published=await aggregate.public_weeks(first, last),
        rows=rows,
        retractions=retractions,
    )
    certificate = Certificate(
        id=statement.jti,
        plugin=plugin,
        first_week=first,
        last_week=last,
        issued_at=now,
        kid=key.thumbprint(),
        token=sign(statement, key),
    )
    return certificate, statement


async def verify_with_store(aggregate: AggregateStore, token: str) -> Verdict:
    """Verify a certificate with the published keys and retractions."""
    keys = {key.kid: key for key in await CertificateStore(aggregate.engine).keys()}
    return verify(token, keys, await Records(aggregate.engine).retractions())
