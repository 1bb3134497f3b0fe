"""PostgreSQL's NOTIFY: the source says itself that something has changed."""

import threading
from collections.abc import Callable
from typing import cast

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.engine import Engine

from cdc_sync.errors import SourceUnavailable
from cdc_sync.source.engine import open_source, translating_errors

log = structlog.get_logger()

LOOK_UP_SECONDS = 1.0  # how soon a stop is heeded
QUIET_SECONDS = 30.0  # after which it is asked whether the connection is still there
LONGEST_BACKOFF_SECONDS = 30.0


def listen(url: str, channel: str, heard: Callable[[], None], stop: threading.Event) -> None:
    """Calls `heard` at every notification until `stop`, and after a gap in which some may be lost.

    A connection that breaks is made anew: polls go on at their interval meanwhile.
    """
    failures = 0
    engine = open_source(url)
    try:
        while not stop.is_set():
            try:
                with translating_errors(engine):
                    failures = _hear(engine, channel, heard, stop, failures)
            except (SourceUnavailable, psycopg.Error) as error:
                failures += 1
                if failures == 1:
                    log.warning("listener.lost", channel=channel, reason=str(error))
                stop.wait(min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** min(failures, 8)))
    finally:
        engine.dispose()


def _hear(
    engine: Engine, channel: str, heard: Callable[[], None], stop: threading.Event, failures: int
) -> int:
    with engine.connect() as connection:
        driver = cast("psycopg.Connection", connection.connection.driver_connection)
        try:
            driver.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            log.info("listener.ready", channel=channel, failures=failures)
            heard()
            quiet = 0.0
            while not stop.is_set():
                if any(True for _ in driver.notifies(timeout=LOOK_UP_SECONDS, stop_after=1)):
                    heard()
                    quiet = 0.0
                elif (quiet := quiet + LOOK_UP_SECONDS) >= QUIET_SECONDS:
                    driver.execute("SELECT 1")  # a firewall may have dropped it without a word
                    quiet = 0.0
        finally:
            connection.invalidate()  # its LISTEN must not go back into a pool
    return 0
