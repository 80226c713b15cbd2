"""Alembic runs this for the aggregate store, on the connection that `migrations.upgrade` hands over."""

from alembic import context

from aggregation.settings import Store
from aggregation.stores.aggregate_tables import AggregateBase
from migrations import version_table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=AggregateBase.metadata,
    version_table=version_table(Store.AGGREGATE),
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
