"""Store issued certificates and the public keys that verify them."""

from datetime import datetime

import sqlalchemy as sa

from aggregation.stores.aggregate_tables import CERTIFICATES, SIGNING_KEYS, Certificate, SigningKey
from aggregation.stores.engines import Queries


class CertificateStore(Queries):
    """Certificates and public keys in the aggregate store."""

    async def keys(self) -> list[SigningKey]:
        """Return all keys, oldest first."""
        query = sa.select(SIGNING_KEYS).order_by(SIGNING_KEYS.c.created_at, SIGNING_KEYS.c.kid)
        return [SigningKey(**row) for row in await self.rows(query)]

    async def add_key(self, key: SigningKey) -> None:
        await self.write(sa.insert(SIGNING_KEYS).values(**key.model_dump()))

    async def revoke(self, kid: str, reason: str, now: datetime) -> bool:
        """Revoke a key, with a public reason. Return False if there is no such key or it is already revoked."""
        chosen = (SIGNING_KEYS.c.kid == kid) & SIGNING_KEYS.c.revoked_at.is_(None)
        update = sa.update(SIGNING_KEYS).where(chosen).values(revoked_at=now, revoked_because=reason)
        return bool((await self.write(update)).rowcount)

    async def add(self, certificate: Certificate) -> None:
        """Store a certificate, which publishes it."""
        await self.write(sa.insert(CERTIFICATES).values(**certificate.model_dump()))

    async def of_plugin(self, plugin: str) -> list[Certificate]:
        """Return the certificates of a plugin, newest first."""
        query = sa.select(CERTIFICATES).where(CERTIFICATES.c.plugin == plugin).order_by(CERTIFICATES.c.issued_at.desc())
        return [Certificate(**row) for row in await self.rows(query)]

    async def find(self, number: str) -> Certificate | None:
        """Return the certificate with this id, or None."""
        found = await self.rows(sa.select(CERTIFICATES).where(CERTIFICATES.c.id == number))
        return Certificate(**found[0]) if found else None
