"""Settings of the aggregation: the URLs of both stores by role, and the site that certificates name."""

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, Field, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL


def base_url(text: str) -> str:
    """Return a valid URL without a slash at the end. Raises ValidationError."""
    return str(TypeAdapter(AnyHttpUrl).validate_python(text)).rstrip("/")


def is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, with special characters such as ``%`` and ``?`` escaped."""
    url = URL.create("sqlite+aiosqlite", database=str(path.resolve()))
    return url.render_as_string(hide_password=False)


def _store_url(text: str | None) -> str | None:
    if text and not text.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
        # Don't quote the URL: it may contain a password.
        raise ValueError("Not the URL of a store: write sqlite+aiosqlite:///path or postgresql+asyncpg://user@host/name")
    return text


StoreUrl = Annotated[str | None, AfterValidator(_store_url)]


class Store(StrEnum):
    """The two stores. They may be on different servers."""

    RAW = "raw"
    AGGREGATE = "aggregate"


class Role(StrEnum):
    """Database roles. Only the owner migrates."""

    OWNER = "owner"
    WEB = "web"
    SCHEDULER = "scheduler"


class AggregationSettings(BaseSettings):
    """Settings shared by the service and ``python -m aggregation``.

    URLs are SQLAlchemy's: ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://user:password@host/name``.
    """

    model_config = SettingsConfigDict(
        env_prefix="AGGREGATION_", populate_by_name=True, extra="ignore", hide_input_in_errors=True
    )

    data: Path = Field(
        Path("data"), validation_alias="UPDATE_SERVER_DATA", description="Folder of the SQLite files; created if missing"
    )
    raw_url: StoreUrl = Field(
        None,
        description="Raw store, as the web process opens it. Default: the folder `raw` in the data folder. "
        "If empty, this process does not accept telemetry but serves everything else",
    )
    raw_owner_url: StoreUrl = Field(
        None, description="Raw store, as its owner opens it to migrate. Default: as the web process"
    )
    raw_scheduler_url: StoreUrl = Field(
        None, description="Raw store, as the scheduled jobs open it. Default: as the web process"
    )
    aggregate_url: StoreUrl = Field(
        None, description="Aggregate store, as the web process opens it. Default: aggregate.sqlite3 in the data folder"
    )
    aggregate_owner_url: StoreUrl = Field(
        None, description="Aggregate store, as its owner opens it to migrate. Default: as the web process"
    )
    public_url: Annotated[str, AfterValidator(base_url)] = Field(
        "http://127.0.0.1:8000", description="Public URL of the site, as certificates name it"
    )
    keys: Path | None = Field(
        None, description="Folder of the private keys that sign certificates. Default: `keys` in the data folder"
    )

    @property
    def key_folder(self) -> Path:
        return self.keys or self.data / "keys"

    def url(self, store: Store, role: Role = Role.WEB) -> str | None:
        """Return the URL of a store for a role, or None if this process must not open it."""
        web = self.raw_url if store is Store.RAW else self.aggregate_url
        own = {
            (Store.RAW, Role.OWNER): self.raw_owner_url,
            (Store.RAW, Role.SCHEDULER): self.raw_scheduler_url,
            (Store.AGGREGATE, Role.OWNER): self.aggregate_owner_url,
        }.get((store, role))
        if own:
            return own
        if web is None:
            return sqlite_url(self.data / ("raw" if store is Store.RAW else "aggregate.sqlite3"))
        return web or None
