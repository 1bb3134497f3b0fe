"""The API is away for a simulated day while contracts go on changing; then it is back.

What is sent then, in which order, and how the process holds its memory. The day passes on the
clock of delivery alone: the source's own clock cannot be moved.
"""

import argparse
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import psycopg
import requests

from bench.support import report, resident_mib, source_with, syncing
from cdc_sync.capture.poll import poll
from cdc_sync.clock import utc_now
from cdc_sync.contract import Status
from cdc_sync.log import Redaction, configure_log
from cdc_sync.operations import actions
from cdc_sync.state import contracts
from cdc_sync.sync import Sync
from tests.support.wait import wait_until

DAY = timedelta(days=1)
BATCHES_A_ROUND = 20  # in one round every contract changes once
LONGEST_BACKOFF = timedelta(minutes=15)
PATIENCE = 900
STILL = threading.Event()


class Clock:
    """The real one, and what was added to it."""

    added = timedelta()

    def now(self) -> datetime:
        return utc_now() + self.added


class Api:
    """The sandbox in a process of its own, whose memory is not ours."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_there(self) -> bool:
        try:
            return requests.get(f"{self.url}/faults", timeout=5).ok
        except requests.ConnectionError:
            return False

    def strike(self, *faults: str) -> None:
        requests.post(f"{self.url}/faults", json=list(faults), timeout=5).raise_for_status()

    def entries(self, after: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := requests.get(f"{self.url}/log?after={after}&limit=5000", timeout=60).json():
            found += page
            after = page[-1]["sequence"]
        return found

    def put_count(self) -> int:
        return int(self.dump()["puts"])

    def dump(self) -> dict[str, Any]:
        document: dict[str, Any] = requests.get(f"{self.url}/dump", timeout=60).json()
        return document


@contextmanager
def sandbox() -> Iterator[Api]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "cdc_sync", "sandbox", "--listen", address]
    process = subprocess.Popen([*command, "--token-seconds", "1000000"], stdout=subprocess.DEVNULL)
    try:
        api = Api(f"http://{address}")
        wait_until(api.is_there, "the sandbox answers")
        yield api
    finally:
        process.kill()
        process.wait()


@contextmanager
def delivering(sync: Sync) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=sync.delivery.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        sync.delivery.wake()
        thread.join(60)


def pending(sync: Sync) -> int:
    with sync.state.read() as tx:
        return contracts.count_by_status(tx)[Status.PENDING]


def due_order(sync: Sync) -> list[str]:
    with sync.state.read() as tx:
        rows = tx.exec_driver_sql(
            "SELECT reference FROM contract WHERE status = 'pending'"
            " ORDER BY next_attempt_at, source_id"
        )
        return [row[0] for row in rows]


def batches(count: int, changes: int) -> Iterator[list[int]]:
    """The ids that change at a time: in each round every contract once, in another order."""
    chance, size = random.Random(1), max(1, count // BATCHES_A_ROUND)
    while changes > 0:
        ids = list(range(1, count + 1))
        chance.shuffle(ids)
        for at in range(0, min(count, changes), size):
            yield ids[at : at + size]
        changes -= count


def a_day_away(
    sync: Sync, source: psycopg.Connection, clock: Clock, count: int, changes: int
) -> dict[str, Any]:
    """Polls and probes of the day; what they took and left."""
    capture = replace(sync.capture, now=utc_now)
    planned = list(batches(count, changes))
    resident = [resident_mib()]
    slowest = 0.0
    for number, ids in enumerate(planned):
        source.execute(
            "UPDATE contracts SET plan = %s, updated_at = clock_timestamp() WHERE id = ANY(%s)",
            [f"plan {number}", ids],
        )
        began = time.perf_counter()
        poll(capture, STILL)
        slowest = max(slowest, time.perf_counter() - began)
        tries = sync.delivery.gate.tries
        clock.added += DAY / len(planned)
        sync.delivery.wake()
        wait_until(lambda tries=tries: sync.delivery.gate.tries != tries, "a probe leaves")
        resident.append(resident_mib())
    quarter = len(planned) // 4
    return {
        "polls": len(planned),
        "slowest_poll_seconds": round(slowest, 2),
        "resident_mib_each_quarter": [round(mib) for mib in resident[::quarter]],
    }


def displaced(order: list[str], sent: list[str]) -> int:
    """How far from its place in the order of need a contract was sent, at most."""
    rank = {reference: at for at, reference in enumerate(order)}
    return max(abs(rank[reference] - at) for at, reference in enumerate(sent))


def back(sync: Sync, api: Api, clock: Clock) -> dict[str, Any]:
    """All is well again, and a person says `resume`, seconds after the last probe."""
    order, before = due_order(sync), api.put_count()
    confirmed = sync.delivery.counts["confirmed"]
    api.strike()
    began = time.perf_counter()
    actions.resume(sync.state, clock.now())
    sync.delivery.wake()
    # The few that probes had tried since their last change wait for longer.
    wait_until(lambda: pending(sync) <= 16, "the backlog is sent", PATIENCE)
    seconds = time.perf_counter() - began
    clock.added += LONGEST_BACKOFF
    sync.delivery.wake()
    wait_until(lambda: pending(sync) == 0, "the last are sent", PATIENCE)
    sync.delivery.wait_for_rest(STILL, 30)
    resident = resident_mib()
    puts = [entry["reference"] for entry in api.entries(before) if entry["applied"]]
    firsts = list(dict.fromkeys(puts))
    return {
        "contracts": len(order),
        "not_sent": len(set(order) - set(firsts)),
        "sent_more_than_once": len(puts) - len(firsts),
        "of_these_confirms": sync.delivery.counts["confirmed"] - confirmed,
        "most_places_out_of_order": displaced(order, firsts),
        "seconds": round(seconds, 1),
        "resident_mib_afterwards": round(resident),
    }


def differences(api: Api, source: psycopg.Connection) -> int:
    held = api.dump()["contracts"]
    rows = source.execute("SELECT id, plan FROM contracts").fetchall()
    return sum(held[f"erp-{row_id}"]["description"] != plan for row_id, plan in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contracts", type=int, default=20_000)
    parser.add_argument("--changes", type=int, default=200_000)
    given = parser.parse_args()
    configure_log("error", "auto", Redaction([]))  # a probe an event is no figure
    clock = Clock()
    with (
        source_with(given.contracts) as url,
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as source,
        sandbox() as api,
        mock.patch("cdc_sync.sync.utc_now", clock.now),
        syncing(url, api.url, guard={"max_changes": "none"}) as sync,
        delivering(sync),
    ):
        poll(replace(sync.capture, now=utc_now), STILL)
        sync.delivery.wake()
        wait_until(lambda: pending(sync) == 0, "the first sync is delivered", PATIENCE)
        api.strike("reset")
        away = a_day_away(sync, source, clock, given.contracts, given.changes)
        probes = api.put_count() - given.contracts
        again = back(sync, api, clock)
        report(**away, probes=probes, **again, differences=differences(api, source))


if __name__ == "__main__":
    main()
