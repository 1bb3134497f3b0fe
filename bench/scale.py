"""How everything grows with the number of contracts, with the state on SQLite and on PostgreSQL.

`python bench/scale.py 10000 100000`: with so many contracts. Each line is a process of its own.
"""

import logging
import multiprocessing
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import requests
import structlog

from bench.support import lean_server, report, source_with, syncing
from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.capture.sweep import sweep
from cdc_sync.clock import utc_now
from cdc_sync.log import RecentLog
from cdc_sync.operations.status import read_status
from cdc_sync.sync import Sync
from cdc_sync.web.app import status_app
from cdc_sync.web.context import Health, PageContext
from cdc_sync.web.server import serving
from tests.support.servers import postgresql_database, postgresql_server

SIZES = (10_000, 100_000, 1_000_000)
CHANGES = 1_000


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    spawn = multiprocessing.get_context("spawn")
    for size in sizes:
        for backend in ("sqlite", "postgresql"):
            with ProcessPoolExecutor(1, mp_context=spawn) as executor:
                report(
                    contracts=size,
                    state=backend,
                    **executor.submit(measure, size, backend).result(),
                )


def measure(size: int, backend: str) -> dict[str, float]:
    stop = threading.Event()
    # The lean server answers every PUT with 201, as if all were lost there.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        source_with(size) as source,
        lean_server(0) as api,
        state_of(backend) as state,
        syncing(source, api, state=state) as sync,
    ):
        capture, figures = sync.capture, dict[str, float]()
        figures["first_load_s"] = seconds(lambda: poll(capture, stop))
        deliver(sync)
        figures["idle_poll_ms"] = 1000 * statistics.median(
            seconds(lambda: poll(capture, stop)) for _ in range(100)
        )
        change(source, size // CHANGES)
        figures["poll_of_1000_s"] = seconds(lambda: poll(capture, stop))
        figures["their_puts_s"] = seconds(lambda: sync.delivery.drain(stop))
        figures["sweep_s"] = seconds(lambda: sweep(capture, timedelta(hours=1), stop))
        figures["reconcile_s"] = seconds(lambda: reconcile(capture, stop))
        figures["status_ms"] = 1000 * median_of_5(lambda: read_status(sync.state, utc_now()))
        figures["overview_ms"] = overview_ms(sync)
        figures["state_mib"] = state_bytes(sync) / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        figures["peak_resident_mib"] = peak / 1024
        return {name: round(figure, 3) for name, figure in figures.items()}


@contextmanager
def state_of(backend: str) -> Iterator[dict[str, str]]:
    if backend == "sqlite":
        yield {}
        return
    with postgresql_server() as server:
        yield {"url": postgresql_database(server)}


def deliver(sync: Sync) -> None:
    """As if all had been delivered, which put_rate.py times."""
    with sync.state.begin() as tx:
        tx.exec_driver_sql(
            "UPDATE contract SET status = 'synced', acknowledged = payload, next_attempt_at = NULL"
        )
    if sync.state.file is None:
        with sync.state.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
            tx.exec_driver_sql("VACUUM ANALYZE")  # which the server does by itself in time


def change(source: str, every: int) -> None:
    with psycopg.connect(source.replace("+psycopg", "")) as connection:
        connection.execute(
            "UPDATE contracts SET plan = 'Changed', updated_at = now() WHERE id %% %s = 0", [every]
        )


def overview_ms(sync: Sync) -> float:
    context = PageContext(
        sync.config, sync.state, sync.capture.measures, RecentLog(),
        health=lambda: Health(utc_now(), None, 0.0), wake=lambda: None, now=utc_now,
    )  # fmt: skip
    with serving(status_app(context), "127.0.0.1", 0) as url, requests.Session() as session:
        return 1000 * median_of_5(lambda: session.get(url, timeout=60))


def state_bytes(sync: Sync) -> int:
    if sync.state.file is not None:
        with sync.state.begin() as tx:
            pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages) * int(tx.exec_driver_sql("PRAGMA page_size").scalar_one())
    with sync.state.read() as tx:
        return int(tx.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def median_of_5(action: Callable[[], object]) -> float:
    return statistics.median(seconds(action) for _ in range(5))


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
