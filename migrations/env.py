"""Alembic's environment. `migrations.upgrade` passes the connection."""

from alembic import context

from aggregation.stores.aggregate_tables import AggregateBase

given = context.config.attributes
context.configure(
    connection=given["connection"],
    version_table=given["version_table"],
    target_metadata=AggregateBase.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
