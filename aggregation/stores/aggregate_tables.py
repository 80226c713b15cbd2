"""Tables of the aggregate store."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from aggregation.catalogue import MAX_DIMENSIONS


class Instant(sa.TypeDecorator[datetime]):
    """A time in UTC. SQLite drops the time zone, so it is restored when read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time, with the time zone UTC if it has none."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class AggregateBase(SQLModel, registry=registry()):
    """The base of all tables of the aggregate store, with a separate registry."""


class Cell(AggregateBase, table=True):
    """A public number. ``value_1`` to ``value_3``: values of the entry's dimensions in order; unused ones are empty."""

    __tablename__ = "cells"
    __table_args__ = {"sqlite_with_rowid": False}

    entry: str = Field(primary_key=True, max_length=64)
    week: str = Field(primary_key=True, max_length=8, index=True)
    value_1: str = Field(primary_key=True, max_length=256)
    value_2: str = Field(primary_key=True, max_length=256)
    value_3: str = Field(primary_key=True, max_length=256)
    people: int


class PublishedWeek(AggregateBase, table=True):
    """A week that has been published."""

    __tablename__ = "published_weeks"

    week: str = Field(primary_key=True, max_length=8)
    published_at: datetime = Field(sa_type=Instant)


class AggregationRun(AggregateBase, table=True):
    """A record of publishing a week, for the operator only: the number of reports is not public.

    ``left_out``: unreadable reports. ``cells``, ``hidden``: numbers published and withheld.
    """

    __tablename__ = "aggregation_runs"

    id: int | None = Field(default=None, primary_key=True)
    week: str = Field(max_length=8, index=True)
    ended_at: datetime = Field(sa_type=Instant)
    duration_s: float
    reports: int
    left_out: int
    cells: int
    hidden: int | None = None
    catalogue_hash: str = Field(max_length=64)
    code_version: str = Field(max_length=64)


class JobRun(AggregateBase, table=True):
    """A run of a job. ``ended_at``: empty while it runs. ``error``: empty if it succeeded."""

    __tablename__ = "job_runs"

    id: int | None = Field(default=None, primary_key=True)
    job: str = Field(max_length=64, index=True)
    started_at: datetime = Field(sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant, nullable=True)
    error: str | None = Field(default=None, sa_type=sa.Text(), nullable=True)


class RetractionRow(AggregateBase, table=True):
    """Retracted numbers. ``of``: values by dimension; empty for all numbers of the entry."""

    __tablename__ = "retractions"

    id: int | None = Field(default=None, primary_key=True)
    entry: str = Field(max_length=64, index=True)
    of: dict[str, str] = Field(sa_type=sa.JSON())
    first_week: str = Field(max_length=8)
    last_week: str = Field(max_length=8)
    reason: str = Field(sa_type=sa.Text())
    retracted_at: datetime = Field(sa_type=Instant)


class Inspection(AggregateBase, table=True):
    """A manual inspection of up to ``most`` raw reports, with the public reason."""

    __tablename__ = "inspections"

    id: int | None = Field(default=None, primary_key=True)
    week: str = Field(max_length=8)
    most: int
    reason: str = Field(sa_type=sa.Text())
    inspected_at: datetime = Field(sa_type=Instant)


class SigningKey(AggregateBase, table=True):
    """The public half of a key. ``kid``: thumbprint (RFC 7638). ``public``: JWK."""

    __tablename__ = "signing_keys"

    kid: str = Field(primary_key=True, max_length=64)
    public: dict[str, Any] = Field(sa_type=sa.JSON())
    created_at: datetime = Field(sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant, nullable=True)
    revoked_because: str | None = Field(default=None, sa_type=sa.Text(), nullable=True)


class Certificate(AggregateBase, table=True):
    """An issued certificate. ``token``: the signed statement (JWS)."""

    __tablename__ = "certificates"

    id: str = Field(primary_key=True, max_length=32)
    plugin: str = Field(max_length=256, index=True)
    first_week: str = Field(max_length=8)
    last_week: str = Field(max_length=8)
    issued_at: datetime = Field(sa_type=Instant)
    kid: str = Field(max_length=64)
    token: str = Field(sa_type=sa.Text())


CELLS: sa.Table = Cell.__table__  # type: ignore[attr-defined]
PUBLISHED_WEEKS: sa.Table = PublishedWeek.__table__  # type: ignore[attr-defined]
AGGREGATION_RUNS: sa.Table = AggregationRun.__table__  # type: ignore[attr-defined]
JOB_RUNS: sa.Table = JobRun.__table__  # type: ignore[attr-defined]
VALUES = tuple(CELLS.c[f"value_{number}"] for number in range(1, MAX_DIMENSIONS + 1))
RETRACTIONS: sa.Table = RetractionRow.__table__  # type: ignore[attr-defined]
INSPECTIONS: sa.Table = Inspection.__table__  # type: ignore[attr-defined]
SIGNING_KEYS: sa.Table = SigningKey.__table__  # type: ignore[attr-defined]
CERTIFICATES: sa.Table = Certificate.__table__  # type: ignore[attr-defined]
