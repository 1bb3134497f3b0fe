"""What the horizon costs a poll, alone and beside a session that sits in a transaction."""

import statistics
import threading
import time
from contextlib import closing

import psycopg

from bench.support import lean_server, report, source_with, syncing
from cdc_sync.capture.page import Capture
from cdc_sync.capture.poll import poll
from cdc_sync.clock import utc_now
from cdc_sync.source.horizon import read_horizon
from cdc_sync.state import watermark

POLLS = 200
STOP = threading.Event()


def main() -> None:
    with source_with(100_000) as source, lean_server(0) as api:
        keys = {"clock_margin": "2s", "long_transaction": "1s"}
        with syncing(source, api, source=keys) as sync:
            poll(sync.capture, STOP)
            report(horizon_ms=_horizon_ms(sync.capture), **_idle(sync.capture))
            with closing(psycopg.connect(source.replace("+psycopg", ""))) as sits:
                sits.execute("UPDATE contracts SET updated_at = now() WHERE id = 1")
                time.sleep(3)  # until the transaction counts as long
                _change(source)
                poll(sync.capture, STOP)
                report(beside="a session idle in transaction", **_idle(sync.capture))


def _change(source: str) -> None:
    with psycopg.connect(source.replace("+psycopg", "")) as writer:
        writer.execute(
            "UPDATE contracts SET plan = 'Basic', updated_at = clock_timestamp()"
            " WHERE id BETWEEN 1000 AND 21000"
        )


def _horizon_ms(capture: Capture) -> float:
    times = []
    with capture.source.scan() as scan, capture.state.read() as tx:
        carry_over = watermark.load_carry_over(tx)
        for _ in range(POLLS):
            began = time.perf_counter()
            read_horizon(scan, carry_over, utc_now())
            times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 2)


def _idle(capture: Capture) -> dict[str, float | int]:
    times, rows = [], 0
    for _ in range(POLLS):
        began = time.perf_counter()
        rows += poll(capture, STOP).rows
        times.append(1000 * (time.perf_counter() - began))
    return {"poll_ms": round(statistics.median(times), 2), "rows_read_again": rows}


if __name__ == "__main__":
    main()
