"""Alembic's entry: uses the engine handed in by ``radpost.store.migrate``."""

from alembic import context

from radpost.store.schema import metadata

engine = context.config.attributes["engine"]
with engine.connect() as connection:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    context.run_migrations()
    connection.exec_driver_sql("COMMIT")
