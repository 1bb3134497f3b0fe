"""What Alembic runs: on the connection that the program gives, or for a developer on a URL."""

import os

from alembic import context
from sqlalchemy import Connection

from cdc_sync.state.database import open_state
from cdc_sync.state.tables import metadata


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:
    with open_state(os.environ["CDC_SYNC_STATE_URL"]).begin() as tx:
        _migrate(tx)
