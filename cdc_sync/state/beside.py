"""The state as commands open it, which may run beside a daemon."""

from collections.abc import Iterator
from contextlib import contextmanager

from cdc_sync.errors import InstanceRunning
from cdc_sync.state.database import Database, open_state
from cdc_sync.state.lease import instance_lock
from cdc_sync.state.migrate import current, expect_current, upgrade
from cdc_sync.state.tables import REVISION


@contextmanager
def open_beside(url: str) -> Iterator[Database]:
    """Opens the state; whoever gets the instance lock makes or upgrades its tables.

    Raises StateUnavailable beside a running daemon of an older version, StateRefused for a
    state from a newer one.
    """
    state = open_state(url)
    try:
        if current(state) != REVISION:
            try:
                with instance_lock(state):
                    upgrade(state)
            except InstanceRunning:
                expect_current(state)
        yield state
    finally:
        state.close()
