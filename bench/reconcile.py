"""A reconcile of 1,000,000 contracts that nothing has happened to, and how it holds its memory."""

import resource
import sys
import threading
import time

from bench.support import lean_server, report, source_with, syncing
from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import reconcile


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    stop = threading.Event()
    with source_with(rows) as source, lean_server(0) as api, syncing(source, api) as sync:
        poll(sync.capture, stop)
        with sync.state.begin() as tx:
            tx.exec_driver_sql(
                "UPDATE contract"
                " SET status = 'synced', acknowledged = payload, next_attempt_at = NULL"
            )
        began = time.perf_counter()
        run = reconcile(sync.capture, stop)
        seconds = time.perf_counter() - began
        report(
            rows=run.rows,
            changed=run.changed,
            rows_per_second=round(run.rows / seconds),
            peak_resident_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        )


if __name__ == "__main__":
    main()
