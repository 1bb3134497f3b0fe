"""A poll that finds nothing, at 1,000,000 source rows and as many contracts in the state."""

import statistics
import sys
import threading
import time

from bench.support import cpu_seconds, lean_server, report, resident_mib, source_with, syncing
from cdc_sync.capture.poll import poll


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    stop = threading.Event()
    with source_with(rows) as source, lean_server(0) as api, syncing(source, api) as sync:
        began = time.perf_counter()
        first = poll(sync.capture, stop)
        load = time.perf_counter() - began
        with sync.state.begin() as tx:
            # As if all had been delivered, which put_rate.py times.
            tx.exec_driver_sql(
                "UPDATE contract"
                " SET status = 'synced', acknowledged = payload, next_attempt_at = NULL"
            )
        poll(sync.capture, stop)
        before = sync.state.file.stat().st_mtime_ns if sync.state.file else 0
        cpu, times = cpu_seconds(), []
        for _ in range(200):
            began = time.perf_counter()
            poll(sync.capture, stop)
            times.append(1000 * (time.perf_counter() - began))
        assert sync.state.file is not None
        size = sync.state.file.stat()
        report(
            rows=rows,
            first_load_rows_per_second=round(first.rows / load),
            idle_poll_ms=round(statistics.median(times), 2),
            p99_ms=round(sorted(times)[-3], 2),
            cpu_ms=round(1000 * (cpu_seconds() - cpu) / 200, 2),
            wrote=size.st_mtime_ns != before,
            resident_mib=round(resident_mib()),
            state_bytes_a_contract=round(size.st_size / rows),
        )


if __name__ == "__main__":
    main()
