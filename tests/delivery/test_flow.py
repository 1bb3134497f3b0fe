"""What the flow keeps when an answer comes too late, or a commit fails."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.config.units import Rate
from cdc_sync.customergauge.sender import Sent
from cdc_sync.customergauge.token import Token
from cdc_sync.delivery.flow import Flow
from cdc_sync.errors import TokenUnavailable
from cdc_sync.rules.gate import Gate
from cdc_sync.rules.pace import SharedPace
from cdc_sync.rules.verdict import Answer, ApiState, Throttled, TokenRejected
from cdc_sync.state import control
from tests.support.bench import Bench

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD, NEW = (Token(secret, NOW + timedelta(hours=1)) for secret in ("old", "new"))


class Tokens:
    """A keeper that has replaced the old token already."""

    failure: TokenUnavailable | None = None

    def current(self) -> Token:
        return NEW

    def refused(self, token: Token) -> bool:
        return token is NEW

    def wants_renewal(self) -> bool:
        return False


def answered(status: int, token: Token) -> Sent[str]:
    return Sent("1", token, Answer(status, None, b""), NOW, NOW, 0.0, NOW)


def flow_of(gate: Gate, limit: Rate | None = None) -> Flow:
    flow = Flow(Tokens(), limit, lambda: None)  # type: ignore[arg-type]
    flow.gate = gate
    return flow


@pytest.mark.parametrize("status", [401, 403])
def test_a_probe_with_a_replaced_token_lets_another_one_leave(bench: Bench, status: int) -> None:
    flow = flow_of(Gate(ApiState.UNREACHABLE, "503", probing=True))
    with bench.sync.state.read() as tx:
        flow.load(tx, NOW)
    assert flow.room(NOW, 5) == 0

    flow.apply(TokenRejected(ApiState.UNAUTHORIZED, "401"), answered(status, OLD), "1")

    assert flow.room(NOW, 5) == 1


def test_a_429_is_stored_by_the_next_transaction_where_a_commit_failed(bench: Bench) -> None:
    state, flow = bench.sync.state, flow_of(Gate(), Rate(10))
    with state.read() as tx:
        flow.load(tx, NOW)
    flow.apply(Throttled(timedelta(minutes=1)), answered(429, NEW), "1")
    with state.begin() as tx:
        flow.save(tx)
        tx.rollback()  # as a commit that fails
    with state.begin() as tx:
        flow.save(tx)
    flow.saved()

    with state.read() as tx:
        stored = control.load(tx, SharedPace)
    assert stored is not None
    assert stored.until == NOW + timedelta(minutes=1)
