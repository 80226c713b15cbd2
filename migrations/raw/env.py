"""Alembic runs this for the raw store, on the connection that `migrations.upgrade` hands over."""

from alembic import context

from aggregation.settings import Store
from aggregation.stores.raw import RawBase
from migrations import version_table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=RawBase.metadata,
    version_table=version_table(Store.RAW),
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
