"""For a full scan: which known contracts it did not meet, in a temporary table, not in memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from cdc_sync.contract import SourceId
from cdc_sync.state import contracts
from cdc_sync.state.columns import listed
from cdc_sync.state.contracts import SWEEP, KnownRow
from cdc_sync.state.database import Database


class Sweep:
    """The ids that a scan met; lives as long as its connection. Raises StateUnavailable."""

    def __init__(self, state: Database, connection: Connection) -> None:
        self._state = state
        self._connection = connection
        self.met_count = 0

    def met(self, ids: Iterable[SourceId]) -> None:
        """Notes a page's ids."""
        new = listed(self._connection, ids)
        if self._connection.dialect.name == "sqlite":
            statement = sa.insert(SWEEP).from_select(["source_id"], new).prefix_with("OR IGNORE")
        else:
            insert = postgresql.insert(SWEEP).from_select(["source_id"], new)
            statement = insert.on_conflict_do_nothing()
        with self._state.in_our_words():
            # SQLAlchemy forgets how many rows an INSERT made, unless it is asked to.
            counted = statement.execution_options(preserve_rowcount=True)
            self.met_count += self._connection.execute(counted).rowcount
            self._connection.commit()

    def unmet(self, page_size: int) -> Iterator[list[KnownRow]]:
        """The known contracts that are not gone and were not met, in pages."""
        after: SourceId | None = None
        while page := self._unmet_page(after, page_size):
            after = page[-1].source_id
            yield page

    def _unmet_page(self, after: SourceId | None, page_size: int) -> list[KnownRow]:
        with self._state.in_our_words():
            page = contracts.next_unmet(self._connection, after, page_size)
            self._connection.rollback()  # no view of the state is held open between pages
            return page


@contextmanager
def sweeping(state: Database) -> Iterator[Sweep]:
    """A sweep of its own; nothing of it is left behind. Raises StateUnavailable."""
    with state.in_our_words():
        connection = state.engine.connect().execution_options(cdc_sync_read=True)
    try:
        with state.in_our_words():
            connection.exec_driver_sql("CREATE TEMPORARY TABLE sweep (source_id TEXT PRIMARY KEY)")
            connection.commit()
        yield Sweep(state, connection)
    finally:
        connection.invalidate()  # the table goes with the connection, whatever state that is in
        connection.close()
