"""Several daemons on one state in PostgreSQL: one captures, all deliver, another takes over."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from cdc_sync.clock import utc_now
from cdc_sync.errors import StateUnavailable
from cdc_sync.operations.status import read_status
from cdc_sync.state.database import open_state
from tests.delivery.test_limits import most_at_once
from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until


@pytest.fixture
def bench(tmp_path: Path, postgresql_url: str, sandbox: Sandbox) -> Bench:
    made = Bench.with_contracts(
        tmp_path,
        sandbox,
        state={"url": postgresql_url},
        schedule={"poll": "1s", "reconcile": "never"},
        web={"listen": "none"},
        customergauge={"rate_limit": "40/s", "timeout": "2s", "concurrency": 2},
    )
    made.source("DELETE FROM contracts WHERE id = 4")
    return made


@pytest.fixture
def roles(postgresql_url: str) -> Iterator[Callable[[], dict[int, str]]]:
    """Who is there, as `status` says it."""
    state = open_state(postgresql_url)

    def asked() -> dict[int, str]:
        try:
            instances = read_status(state, utc_now())["instances"]
        except StateUnavailable:
            return {}  # no tables yet
        return {one["pid"]: one["role"] for one in instances}

    yield asked
    state.close()


Roles = Callable[[], dict[int, str]]


def add(bench: Bench, first: int, count: int) -> None:
    rows = ",".join(
        f"({n}, 'ACME', '2024-01-01', NULL, 'Gold', {NOW})" for n in range(first, first + count)
    )
    bench.source(f"INSERT INTO contracts VALUES {rows}")


def test_another_takes_over_when_the_one_that_captures_is_killed(
    bench: Bench, sandbox: Sandbox, roles: Roles
) -> None:
    with closing(bench.start_daemon()) as one, ExitStack() as stack:
        wait_until(lambda: roles() == {one.pid: "active"}, "the first captures")
        other = stack.enter_context(closing(bench.start_daemon()))
        both = {one.pid: "active", other.pid: "standby"}
        wait_until(lambda: roles() == both, "the second stands by")
        sandbox.strike("latency=100ms")
        add(bench, 100, 200)
        wait_until(lambda: len(sandbox.contracts()) == 203, "both deliver")
        wait_until(
            lambda: bench.run("status", "--json").document["contracts"]["synced"] == 203,
            "all of it is recorded",
        )
        assert most_at_once(sandbox.puts()) > 2, "each of them sends two at a time"

        one.signal(signal.SIGKILL)
        wait_until(lambda: roles() == {other.pid: "active"}, "the second captures", 5)
        add(bench, 400, 1)
        wait_until(lambda: "erp-400" in sandbox.contracts(), "it delivers what it found")
        assert bench.run("once").code == 0, "commands are done by it"
        assert other.signal(signal.SIGTERM) == 0
    puts = Counter(entry.reference for entry in sandbox.puts())
    assert set(puts.values()) == {1}, "no contract is sent by both"


def test_they_keep_the_rate_limit_together(bench: Bench, sandbox: Sandbox, roles: Roles) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(closing(bench.start_daemon()))
        wait_until(lambda: len(roles()) == 3, "all three are there")
        add(bench, 100, 160)
        wait_until(lambda: len(sandbox.contracts()) == 163, "all is delivered")
    starts = sorted(entry.started for entry in sandbox.puts())[3:]
    assert min(starts[n + 41] - starts[n] for n in range(len(starts) - 41)) > 1
