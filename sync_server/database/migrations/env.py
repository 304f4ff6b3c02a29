"""What Alembic runs for every migration: on the connection that `database.migrate` hands over."""

from alembic import context

from sync_server.database.tables.devices import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
