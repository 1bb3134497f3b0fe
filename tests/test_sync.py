"""What a sync leaves on disk."""

import stat
import threading

from cdc_sync.capture.poll import poll
from tests.support.there import There

STILL = threading.Event()


def test_the_state_and_what_lies_beside_it_are_for_us_alone(there: There):
    there.rows.add({"id": 1})
    with there.open() as sync:
        poll(sync.capture, STILL)
        sync.delivery.drain(STILL)
        ours = [file for file in there.folder.iterdir() if file.name.startswith(("state", "token"))]
        assert {"state.db", "state.db-wal", "state.db-shm", "token.json"} <= {f.name for f in ours}
        for file in ours:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
