"""The status page at 1,000,000 contracts: each view's time and weight, and what 20 viewers cost."""

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from cdc_sync.config.load import load_config
from cdc_sync.contract import payload_of
from cdc_sync.log import RecentLog
from cdc_sync.measures import Measures
from cdc_sync.state.database import Database, open_state
from cdc_sync.state.schema import upgrade_tables
from cdc_sync.state.tables import contract
from cdc_sync.web.app import status_app
from cdc_sync.web.context import Health, PageContext
from cdc_sync.web.server import serving
from tests.support.configs import write_config

CONTRACTS = 1_000_000
PAGE = 20_000
LOOKS = 20
VIEWERS = 20
WATCHED_SECONDS = 20
VIEWS = (
    "/", "/?window=day", "/contracts", "/contracts?status=rejected",
    "/contracts?status=synced&after=500000", "/contracts?q=globex", "/contracts?q=erp-777777",
    "/contract?id=777777", "/refusals", "/guard", "/watermark", "/runs", "/metrics", "/api/status",
)  # fmt: skip
VIEWER = "import requests, sys\nfor _ in requests.get(sys.argv[1], stream=True).iter_lines(): pass"


def row(number: int, chance: random.Random, now: datetime) -> dict[str, Any]:
    status = {0: "rejected", 1: "pending"}.get(number % 1000, "synced")
    account = f"{chance.choice(['Acme', 'Globex', 'Initech', 'Hooli'])} {number % 5000}"
    fields = {"account": account, "description": "Gold", "end": "2027-01-01", "start": "2024-01-01"}
    payload = payload_of(fields)
    refused = f'[{{"field":"start","message":"must be before {number}"}}]'
    return {
        "source_id": str(number),
        "reference": f"erp-{number}",
        "payload": payload,
        "acknowledged": payload,
        "status": status,
        "attempts": 0,
        "http_status": 422 if status == "rejected" else 200,
        "last_error": refused if status == "rejected" else None,
        "first_seen_at": now,
        "changed_at": now,
        "acknowledged_at": now,
    }


def fill(state: Database) -> None:
    chance, now = random.Random(7), datetime.now(UTC)
    with state.begin() as tx:
        for first in range(0, CONTRACTS, PAGE):
            rows = [row(number, chance, now) for number in range(first, first + PAGE)]
            tx.execute(contract.insert(), rows)


def a_day_of(measures: Measures) -> None:
    now, chance = datetime.now(UTC), random.Random(7)
    for seconds in range(86_400, 0, -2):
        waited = timedelta(seconds=chance.random())
        measures.record_put(now - timedelta(seconds=seconds), 200, chance.random() / 50, waited)


@contextmanager
def page(folder: Path) -> Iterator[tuple[str, Measures]]:
    file = write_config(folder / "config.yaml", "sqlite:///source.db", "http://127.0.0.1:1")
    config = load_config(file, {})
    state, measures = open_state(f"sqlite:///{folder / 'state.db'}"), Measures()
    upgrade_tables(state)
    fill(state)
    a_day_of(measures)
    context = PageContext(
        config, state, measures, RecentLog(),
        health=lambda: Health(datetime.now(UTC), None, 0.0),
        wake=lambda: None, now=lambda: datetime.now(UTC),
    )  # fmt: skip
    with serving(status_app(context), "127.0.0.1", 0) as url:
        yield url, measures
    state.close()


def time_views(url: str) -> None:
    with requests.Session() as session:
        for path in VIEWS:
            taken = []
            for _ in range(LOOKS):
                began = time.perf_counter()
                weight = len(session.get(url + path, timeout=60).content)
                taken.append((time.perf_counter() - began) * 1000)
            median, most = statistics.median(taken), max(taken)
            timed = f"median {median:5.1f} ms   longest {most:5.1f} ms"
            print(f"{path:42} {timed}   {weight / 1000:5.1f} kB")


def time_viewers(url: str, measures: Measures) -> None:
    command = [sys.executable, "-c", VIEWER, f"{url}/live?view=overview"]
    viewers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(VIEWERS)]
    time.sleep(5)
    spent, began = time.process_time(), time.monotonic()
    for _ in range(WATCHED_SECONDS):
        measures.record_put(datetime.now(UTC), 200, 0.01, timedelta(seconds=0.5))
        time.sleep(1)
    share = (time.process_time() - spent) / (time.monotonic() - began)
    print(f"{VIEWERS} viewers of the live overview: {share:.1%} of a core")
    for viewer in viewers:
        viewer.kill()
        viewer.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, page(Path(name)) as (url, measures):
        time_views(url)
        time_viewers(url, measures)


if __name__ == "__main__":
    main()
