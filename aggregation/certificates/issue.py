"""Issuing a certificate, and checking one against what the store knows."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path

from aggregation.catalogue import PLUGIN
from aggregation.certificates.keys import published, signing_key
from aggregation.certificates.signing import Verdict, sign, verify
from aggregation.certificates.statement import MOST_WEEKS, Statement, entries_needed, make_statement, weeks_between
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import Certificate
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.records import Records


class TooManyWeeksError(Exception):
    """More weeks than a certificate holds, or none."""


async def issue(
    aggregate: AggregateStore, *, site: str, key_folder: Path, plugin: str, first: str, last: str, now: datetime
) -> tuple[Certificate, Statement]:
    """Sign a statement about ``plugin`` from ``first`` to ``last``, both included, and keep it in the store.

    Raises KeyProblemError, NothingToStateError, TooManyWeeksError, InvalidWeekError.
    """
    if first > last or len(weeks_between(first, last)) > MOST_WEEKS:
        raise TooManyWeeksError(f"From {first} to {last} are not one to {MOST_WEEKS} weeks.")
    store = CertificateStore(aggregate.engine)
    key = signing_key(key_folder, await store.keys())
    rows = {
        dimension: await aggregate.all_rows(entry, {PLUGIN.name: plugin}, since=first, until=last)
        for dimension, entry in entries_needed().items()
    }
    statement = make_statement(
        site=site,
        number=uuid.uuid4().hex,
        now=now,
        plugin=plugin,
        first=first,
        last=last,
        published=await aggregate.published_weeks(first, last),
        rows=rows,
        retractions=await Records(aggregate.engine).retractions(since=first, until=last),
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
    await store.add(certificate)
    return certificate, statement


async def verify_here(aggregate: AggregateStore, token: str) -> Verdict:
    """Check a certificate against the keys and the retractions of the store."""
    keys = published(await CertificateStore(aggregate.engine).keys())
    return verify(token, keys, await Records(aggregate.engine).retractions())
