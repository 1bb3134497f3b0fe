"""10,000 rows touched and not changed: what a poll costs, and that nothing is PUT."""

import threading
import time

import psycopg

from bench.support import lean_server, report, source_with, syncing
from cdc_sync.capture.poll import poll

ROWS = 10_000


def main() -> None:
    stop = threading.Event()
    with source_with(ROWS) as source, lean_server(0) as api, syncing(source, api) as sync:
        poll(sync.capture, stop)
        sync.delivery.drain(stop)
        delivered = sync.delivery.counts.total()
        with psycopg.connect(source.replace("+psycopg", "")) as connection:
            connection.execute("UPDATE contracts SET updated_at = now()")
        began = time.perf_counter()
        run = poll(sync.capture, stop)
        seconds = time.perf_counter() - began
        sync.delivery.drain(stop)
        puts = sync.delivery.counts.total() - delivered
        report(rows=run.rows, rows_per_second=round(run.rows / seconds), puts=puts)


if __name__ == "__main__":
    main()
