"""What aggregations left out, retractions, inspections, and certificates with their keys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("aggregation_runs") as runs:
        runs.add_column(sa.Column("left_out", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("aggregation_runs") as runs:
        runs.alter_column("left_out", server_default=None)
    op.create_index("ix_cells_week", "cells", ["week"])
    op.create_table(
        "retractions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("of", sa.JSON(), nullable=False),
        sa.Column("first_week", sa.String(8), nullable=False),
        sa.Column("last_week", sa.String(8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("retracted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_retractions_entry", "retractions", ["entry"])
    op.create_table(
        "inspections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("week", sa.String(8), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("inspected_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("public", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("kid"),
    )
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("plugin", sa.String(256), nullable=False),
        sa.Column("first_week", sa.String(8), nullable=False),
        sa.Column("last_week", sa.String(8), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kid", sa.String(64), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_certificates_plugin", "certificates", ["plugin"])


def downgrade() -> None:
    for table in ("certificates", "signing_keys", "inspections", "retractions"):
        op.drop_table(table)
    op.drop_index("ix_cells_week", "cells")
    with op.batch_alter_table("aggregation_runs") as runs:
        runs.drop_column("left_out")
