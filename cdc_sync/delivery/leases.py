"""Claims whose daemon is gone: free at once where it ran here, after their lease elsewhere."""

import os
import socket

from cdc_sync.state import outbox
from cdc_sync.state.database import Database


def our_name() -> str:
    """By what this process signs its claims."""
    return f"{socket.gethostname()}:{os.getpid()}"


def free_dead(state: Database) -> None:
    """Ends the claims of processes that died on this machine; Raises StateUnavailable.

    What was to be sent is due, and still in doubt. On SQLite there is no other process.
    """
    with state.begin() as tx:
        if state.file is not None:
            outbox.free_all(tx)
            return
        for owner in outbox.owners(tx):
            if _is_dead(owner):
                outbox.free_others(tx, owner, [])


def free_expired(state: Database) -> None:
    """Ends the claims whose lease is over, by the state's clock. Raises StateUnavailable."""
    if state.file is not None:
        return
    with state.read() as tx:
        if not outbox.any_expired(tx):
            return
    with state.begin() as tx:
        outbox.free_expired(tx)


def _is_dead(owner: str) -> bool:
    host, _, pid = owner.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(pid) == os.getpid()  # of an earlier process with our number
