"""What a sync leaves on disk."""

import stat

from tests.support.bench import Bench


def test_the_state_and_what_lies_beside_it_are_for_us_alone(bench: Bench):
    bench.rows.add({"id": 1})
    with bench.open():
        bench.poll()
        bench.deliver()
        ours = [file for file in bench.folder.iterdir() if file.name.startswith(("state", "token"))]
        assert {"state.db", "state.db-wal", "state.db-shm", "token.json"} <= {f.name for f in ours}
        for file in ours:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
