"""Claims whose daemon is gone: free at once where it ran here, after their lease elsewhere."""

import os
import socket
from collections.abc import Sequence

from cdc_sync.state import outbox
from cdc_sync.state.database import Database


def our_name() -> str:
    """By what this process signs its claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


def free_left_behind(state: Database) -> None:
    """At a start: ends the claims of processes that died here. Raises StateUnavailable.

    What was to be sent is due, and still in doubt. On SQLite there is no other process.
    """
    if state.file is None:
        _free(state, [our_name()])  # of an earlier process with our number
        free_dead(state)
        return
    with state.begin() as tx:
        outbox.free_all(tx)


def free_dead(state: Database) -> None:
    """Ends the claims of others that died on this machine. Raises StateUnavailable."""
    if state.file is None:
        with state.read() as tx:
            owners = outbox.owners(tx)
        _free(state, [owner for owner in owners if owner != our_name() and _is_dead(owner)])


def free_expired(state: Database) -> None:
    """Ends the claims whose lease is over, by the state's clock. Raises StateUnavailable."""
    if state.file is not None:
        return
    with state.read() as tx:
        if not outbox.any_expired(tx):
            return
    with state.begin() as tx:
        outbox.free_expired(tx)


def _free(state: Database, owners: Sequence[str]) -> None:
    if owners:
        with state.begin() as tx:
            for owner in owners:
                outbox.free_others(tx, owner, [])


def _is_dead(owner: str) -> bool:
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, as somebody else's
    return False
