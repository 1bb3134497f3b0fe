"""How a command has the running daemon do its work, and waits for the report."""

import time
import uuid
from typing import Any

from cdc_sync.clock import utc_now
from cdc_sync.errors import CdcSyncError
from cdc_sync.state import control
from cdc_sync.state.database import Database
from cdc_sync.status import read_status

HEARD_WITHIN_SECONDS = 20.0


def ask_daemon(state: Database, kind: str) -> dict[str, Any]:
    """The daemon's report. Raises CdcSyncError where it ends, or never heard us."""
    name = uuid.uuid4().hex
    with state.begin() as tx:
        control.ask(tx, name, kind, utc_now())
    try:
        return _answered(state, name)
    finally:
        with state.begin() as tx:
            control.withdraw(tx, name)


def _answered(state: Database, name: str) -> dict[str, Any]:
    silent_since = time.monotonic()
    while time.monotonic() - silent_since < HEARD_WITHIN_SECONDS:
        if read_status(state, utc_now())["daemon"]["running"]:
            silent_since = time.monotonic()
        with state.read() as tx:
            answered, is_asked = control.peek_answer(tx, name), control.is_asked(tx, name)
        if answered is not None:
            return answered
        if not is_asked:
            break  # a daemon that was started since did not expect us to wait still
        time.sleep(0.1)
    raise CdcSyncError(
        "Another cdc-sync is at work on this state and does not take requests.",
        mend="Wait for its end, or stop it.",
    )
