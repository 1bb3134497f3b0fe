"""Clocks that are set, and servers that take over: nothing that comes afterwards is lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from cdc_sync.rules.watermark import HorizonState
from cdc_sync.source.dialects.base import Dialect
from cdc_sync.source.dialects.sqlite import SQLite
from cdc_sync.state import control, watermark
from tests.support.bench import Bench
from tests.support.rows import Rows
from tests.support.sandbox import Sandbox


class SetClock:
    """One clock for the source and for us, as on one machine; a test sets it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    clock = SetClock()
    monkeypatch.setattr("cdc_sync.sync.utc_now", clock.now)
    monkeypatch.setattr(SQLite, "clock", lambda *_: clock.now())
    return clock


@pytest.mark.parametrize(
    "steps",
    [
        (timedelta(minutes=-10),),
        (timedelta(hours=2), timedelta()),
        (timedelta(days=30), timedelta()),
    ],
    ids=["back", "ahead for a moment", "ahead by a month and back"],
)
def test_a_clock_that_source_and_daemon_share_may_be_set(bench: Bench, clock: SetClock, steps):
    bench.rows.add({"id": 1, "updated_at": clock.now()})
    with bench.open(source={"lookback": "5s"}):
        bench.poll()
        for number, step in enumerate(steps):
            clock.ahead = step
            bench.rows.change(1, plan=f"Plan {number}", updated_at=clock.now())
            bench.poll()
        bench.rows.add({"id": 2, "updated_at": clock.now()})
        bench.poll()
        bench.deliver()

    assert sorted(bench.sandbox.contracts()) == ["erp-1", "erp-2"]
    assert f"Plan {len(steps) - 1}" in bench.sandbox.contracts()["erp-1"]["description"]


def test_a_watermark_in_the_future_moves_back_by_itself_and_is_recorded(bench: Bench):
    bench.rows.add({"id": 1})
    with bench.open() as sync:
        bench.poll()
        with sync.state.begin() as tx:
            known = watermark.read(tx)
            far = datetime.now(UTC) + timedelta(days=30)
            watermark.advance(tx, known, far, known.type, datetime.now(UTC))
        bench.rows.add({"id": 2})
        bench.poll()
        bench.deliver()
        with sync.state.read() as tx:
            assert watermark.read(tx).value < datetime.now(UTC)
            (move,) = watermark.history(tx, 10)

    assert sorted(bench.sandbox.contracts()) == ["erp-1", "erp-2"]
    assert (move["who"], move["reason"]) == (
        "cdc-sync",
        "the watermark was later than the source's clock",
    )


@pytest.fixture
def numbered(tmp_path: Path, sandbox: Sandbox, postgresql_url: str) -> Iterator[Bench]:
    """A source on PostgreSQL whose watermark is a number."""
    columns = [sa.Column("updated_at", sa.BigInteger)]
    with Bench(tmp_path, sandbox, postgresql_url, source={"lookback": 10}) as bench:
        bench.rows = Rows(bench.rows_url, *columns)
        yield bench


def age_samples(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Lets the source's clock be later, so that samples of numbers are old enough."""
    really = Dialect.clock
    later = timedelta(days=days)
    monkeypatch.setattr(Dialect, "clock", lambda *given: really(*given) - later)


def test_numbers_of_another_server_are_read_anew(numbered: Bench, monkeypatch: pytest.MonkeyPatch):
    numbered.rows.add({"id": 1, "updated_at": 500})
    with numbered.open() as sync:
        with monkeypatch.context() as patch:
            age_samples(patch, 1)
            numbered.poll()  # takes a sample, which is a day old for the next one
        numbered.poll()
        with sync.state.read() as tx:
            assert watermark.read(tx).value == 500

    # A fail-over to a server that lags: its numbers begin earlier.
    with numbered.open() as sync:
        with sync.state.begin() as tx:
            state = control.load(tx, HorizonState)
            assert state is not None
            old = HorizonState(state.value, {}, "another", state.clock, state.ours)
            control.save(tx, old)
        numbered.rows.add({"id": 2, "updated_at": 104})
        numbered.poll()
        numbered.rows.add({"id": 3, "updated_at": 105})
        numbered.poll()
        numbered.deliver()
        with sync.state.read() as tx:
            assert watermark.read(tx).value != 500
            assert watermark.history(tx, 1)[0]["who"] == "cdc-sync"

    assert sorted(numbered.sandbox.contracts()) == ["erp-1", "erp-2", "erp-3"]


def test_a_number_as_lookback_does_not_replace_the_horizon(numbered: Bench):
    with numbered.open() as sync:
        numbered.rows.add({"id": 1, "updated_at": 1})
        numbered.poll()
        horizon = sync.capture.horizon

    assert horizon is not None
    assert horizon.basis == "horizon"
