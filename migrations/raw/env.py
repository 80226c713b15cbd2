"""Alembic runs this for the raw store, on the connection that `migrations.upgrade` hands over."""

from alembic import context

from aggregation.settings import Store
from migrations import version_table

context.configure(
    connection=context.config.attributes["connection"],
    version_table=version_table(Store.RAW),
)
with context.begin_transaction():
    context.run_migrations()
