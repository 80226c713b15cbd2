"""How many cells an aggregation hid."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("aggregation_runs") as runs:
        runs.add_column(sa.Column("hidden", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("aggregation_runs") as runs:
        runs.drop_column("hidden")
