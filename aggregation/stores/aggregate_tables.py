"""The tables of the aggregate store: public numbers and how they came about, and what is said about them in public."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from aggregation.catalogue import MAX_DIMENSIONS


class Instant(sa.TypeDecorator[datetime]):
    """An instant with its time zone, which SQLite drops: everything is stored in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return what was stored."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class AggregateBase(SQLModel, registry=registry()):
    """The tables of the aggregate store, apart from those of the other."""


class Cell(AggregateBase, table=True):
    """One public number. ``value_1`` to ``value_3`` are those of the entry's dimensions, in its order; the rest is empty."""

    __tablename__ = "cells"
    __table_args__ = {"sqlite_with_rowid": False}

    entry: str = Field(primary_key=True, max_length=64)
    week: str = Field(primary_key=True, max_length=8, index=True)
    value_1: str = Field(primary_key=True, max_length=256)
    value_2: str = Field(primary_key=True, max_length=256)
    value_3: str = Field(primary_key=True, max_length=256)
    people: int


class PublishedWeek(AggregateBase, table=True):
    """A week whose numbers are out. They never change."""

    __tablename__ = "published_weeks"

    week: str = Field(primary_key=True, max_length=8)
    published_at: datetime = Field(sa_type=Instant)


class AggregationRun(AggregateBase, table=True):
    """What an aggregation ran on. For the operator alone: how many reports there were is no public number.

    ``reports``: how many were read. ``left_out``: how many of them this program could not read. ``cells``, ``hidden``: how many
    numbers it published, and withheld; None where that was not noted yet.
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
    """One run of a scheduled job. ``ended_at`` is empty while it runs, ``error`` where it went well."""

    __tablename__ = "job_runs"

    id: int | None = Field(default=None, primary_key=True)
    job: str = Field(max_length=64, index=True)
    started_at: datetime = Field(sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant, nullable=True)
    error: str | None = Field(default=None, sa_type=sa.Text(), nullable=True)


class RetractionRow(AggregateBase, table=True):
    """Numbers that were taken back, and why: the reason stays public.

    ``of``: values of some of the entry's dimensions, by name; empty where all numbers of the entry were taken back.
    """

    __tablename__ = "retractions"

    id: int | None = Field(default=None, primary_key=True)
    entry: str = Field(max_length=64, index=True)
    of: dict[str, str] = Field(sa_type=sa.JSON())
    first_week: str = Field(max_length=8)
    last_week: str = Field(max_length=8)
    reason: str = Field(sa_type=sa.Text())
    retracted_at: datetime = Field(sa_type=Instant)


class Inspection(AggregateBase, table=True):
    """That somebody looked at raw reports by hand, when, at how many at most, and why: the privacy page shows it."""

    __tablename__ = "inspections"

    id: int | None = Field(default=None, primary_key=True)
    week: str = Field(max_length=8)
    most: int
    reason: str = Field(sa_type=sa.Text())
    inspected_at: datetime = Field(sa_type=Instant)


class SigningKey(AggregateBase, table=True):
    """The public half of a key that signs certificates. ``kid``: its thumbprint (RFC 7638). ``public``: as a JWK."""

    __tablename__ = "signing_keys"

    kid: str = Field(primary_key=True, max_length=64)
    public: dict[str, Any] = Field(sa_type=sa.JSON())
    created_at: datetime = Field(sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant, nullable=True)
    revoked_because: str | None = Field(default=None, sa_type=sa.Text(), nullable=True)


class Certificate(AggregateBase, table=True):
    """A certificate that was issued. ``token``: the signed statement itself (JWS)."""

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
