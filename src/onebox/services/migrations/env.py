"""What alembic runs for each of its commands. Its caller gives a connection in a transaction."""

from __future__ import annotations

from alembic import context

from onebox.services.tables import METADATA


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
