"""Certificates that were issued, and the public keys that tell whether one is genuine."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregation.stores.aggregate_tables import CERTIFICATES, SIGNING_KEYS, Certificate, SigningKey, in_utc
from aggregation.stores.engines import WRITES


class CertificateStore:
    """Keys and certificates, in the aggregate store."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def keys(self) -> list[SigningKey]:
        """Return all keys, oldest first."""
        async with self._engine.connect() as connection:
            query = sa.select(SIGNING_KEYS).order_by(SIGNING_KEYS.c.created_at, SIGNING_KEYS.c.kid)
            return [SigningKey(**in_utc(row)) for row in (await connection.execute(query)).mappings()]

    async def add_key(self, key: SigningKey) -> None:
        """Publish a key."""
        async with self._engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.insert(SIGNING_KEYS).values(**key.model_dump()))

    async def revoke(self, kid: str, reason: str, now: datetime) -> bool:
        """Mark a key as revoked, with a public reason; tell whether there is one that was not."""
        chosen = (SIGNING_KEYS.c.kid == kid) & SIGNING_KEYS.c.revoked_at.is_(None)
        async with self._engine.execution_options(**WRITES).begin() as connection:
            update = sa.update(SIGNING_KEYS).where(chosen).values(revoked_at=now, revoked_because=reason)
            return bool((await connection.execute(update)).rowcount)

    async def add(self, certificate: Certificate) -> None:
        """Keep a certificate, so that everybody who has its number can see it."""
        async with self._engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.insert(CERTIFICATES).values(**certificate.model_dump()))

    async def of_plugin(self, plugin: str) -> list[Certificate]:
        """Return the certificates of a plugin, the newest first."""
        async with self._engine.connect() as connection:
            query = sa.select(CERTIFICATES).where(CERTIFICATES.c.plugin == plugin).order_by(CERTIFICATES.c.issued_at.desc())
            rows = (await connection.execute(query)).mappings()
            return [Certificate(**in_utc(row)) for row in rows]

    async def find(self, number: str) -> Certificate | None:
        """Return the certificate with a number."""
        async with self._engine.connect() as connection:
            query = sa.select(CERTIFICATES).where(CERTIFICATES.c.id == number)
            row = (await connection.execute(query)).mappings().first()
        return Certificate(**in_utc(row)) if row else None
