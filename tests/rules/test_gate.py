"""Whether anything may be sent, after any row of answers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_sync.contract import Problem
from cdc_sync.rules.gate import BREAKER_AFTER, PROBE_LONGEST, REFUSING_AFTER, ApiStatus, Gate
from cdc_sync.rules.verdict import (
    LONGEST,
    Accepted,
    AccountMissing,
    ApiState,
    Halted,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
)

pytestmark = pytest.mark.quick
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OK = Accepted(created=False)
BAD = Refused((Problem("start", "is bad"),))
AWAY = Unavailable("503", doubt=True)
UNAUTHORIZED = TokenRejected(ApiState.UNAUTHORIZED, "401")
WRONG = Halted(ApiState.MISCONFIGURED, "404")
VERDICTS = [OK, BAD, AccountMissing(BAD.problems), TryLater("409", False), Throttled(None), AWAY, UNAUTHORIZED, WRONG]  # fmt: skip
SECOND = timedelta(seconds=1)


def after(*verdicts, gate: Gate = Gate(), now: datetime = NOW) -> Gate:  # noqa: B008  # frozen
    for number, verdict in enumerate(verdicts):
        gate = gate.after(verdict, now, 0.0, str(number))
    return gate


def test_an_open_gate_gives_all_the_room_that_is_wanted():
    assert Gate().room(NOW, 50) == 50


def test_one_failure_shuts_nothing_and_five_in_a_row_leave_single_probes():
    almost, shut = after(*[AWAY] * (BREAKER_AFTER - 1)), after(*[AWAY] * BREAKER_AFTER)

    assert almost.room(NOW, 50) == 50
    assert (shut.state, shut.room(NOW, 50)) == (ApiState.UNREACHABLE, 0)
    assert shut.room(shut.shut_until, 50) == 1
    assert shut.claimed().room(shut.shut_until, 50) == 0
    assert shut.claimed().unsent().room(shut.shut_until, 50) == 1


def test_a_success_between_failures_starts_the_count_anew():
    assert after(*[AWAY] * 4, OK, *[AWAY] * 4).state is ApiState.OK


def test_everybody_waits_as_long_as_a_429_asks_for():
    gate = after(Throttled(timedelta(seconds=30)))

    assert gate.room(NOW + 29 * SECOND, 50) == 0
    assert gate.room(NOW + 30 * SECOND, 50) == 50


@pytest.mark.parametrize("late", [v for v in VERDICTS if not isinstance(v, Throttled)], ids=lambda v: type(v).__name__)  # fmt: skip
def test_an_answer_to_what_left_before_a_429_shortens_nobodys_wait(late):
    gate = after(Throttled(timedelta(seconds=30)), *[late] * 30)

    assert gate.room(NOW + 29 * SECOND, 50) == 0


def test_a_second_429_may_ask_for_more_but_not_for_less():
    gate = after(*(Throttled(n * SECOND) for n in (30, 60, 5)))

    assert gate.shut_until == NOW + 60 * SECOND


def test_a_429_without_a_time_waits_longer_each_time():
    gate, waits = Gate(), []
    for _ in range(12):
        now = gate.shut_until or NOW
        gate = after(Throttled(None), gate=gate, now=now)
        waits.append(gate.shut_until - now)

    assert waits == sorted(waits)
    assert waits[0] < waits[5] < LONGEST


def test_a_token_refused_once_gets_a_fresh_one_and_twice_stops_delivery():
    once, twice = after(UNAUTHORIZED), after(UNAUTHORIZED, UNAUTHORIZED)

    assert once.room(NOW, 50) == 50
    assert (twice.state, twice.room(NOW, 50)) == (ApiState.UNAUTHORIZED, 0)
    assert after(UNAUTHORIZED, OK, UNAUTHORIZED).state is ApiState.OK


def test_a_wrong_set_up_stops_at_once_and_is_probed_ever_more_rarely():
    gate, waits = Gate(), []
    for _ in range(12):
        now = gate.shut_until or NOW
        gate = after(WRONG, gate=gate.claimed(), now=now)
        waits.append((gate.shut_until - now) / SECOND)

    assert waits[:5] == [1, 2, 4, 8, 16]
    assert waits[-1] * SECOND == PROBE_LONGEST
    assert gate.since == NOW


def test_an_accepted_probe_opens_a_stopped_gate():
    stopped = after(WRONG).claimed()

    assert after(OK, gate=stopped, now=stopped.shut_until) == Gate()


def test_twenty_refusals_in_a_row_make_us_suspect_the_set_up():
    assert after(*[BAD] * (REFUSING_AFTER - 1)).room(NOW, 50) == 50
    gate = after(*[BAD] * REFUSING_AFTER)

    assert (gate.state, gate.reason) == (ApiState.REFUSING, "start: is bad")
    assert gate.room(gate.shut_until, 50) == 1
    assert after(OK, gate=gate) == gate.resumed(NOW) == Gate()


def test_a_missing_account_is_its_contracts_affair():
    missing = AccountMissing(BAD.problems)
    assert after(*[missing] * 5 * REFUSING_AFTER).room(NOW, 50) == 50

    suspected = after(*[BAD] * REFUSING_AFTER)
    probed = after(missing, gate=suspected.claimed(), now=suspected.shut_until)
    assert (probed.state, probed.reason) == (ApiState.REFUSING, "start: is bad")
    assert probed.room(probed.shut_until, 50) == 1


def test_one_contract_that_is_refused_again_and_again_says_nothing_of_the_set_up():
    gate = Gate()
    for number in range(5 * REFUSING_AFTER):
        gate = gate.after(BAD, NOW, 0.0, str(number % (REFUSING_AFTER - 1)))

    assert gate.room(NOW, 50) == 50


def test_a_persons_word_makes_the_next_probe_due_but_shortens_no_429():
    assert after(WRONG, WRONG).resumed(NOW).room(NOW, 50) == 1
    assert after(Throttled(30 * SECOND)).resumed(NOW).room(NOW, 50) == 0


def test_a_token_that_came_again_opens_what_its_lack_had_shut():
    assert Gate().stopped(ApiState.UNREACHABLE, "no token", NOW).renewed() == Gate()


def test_a_wait_that_the_token_endpoint_asks_for_is_the_gates():
    wait = timedelta(seconds=6)
    assert Gate().stopped(ApiState.THROTTLED, "429", NOW, wait).shut_until == NOW + wait
    assert after(UNAUTHORIZED, UNAUTHORIZED).renewed().room(NOW, 1) == 0
    assert after(WRONG).renewed().state is ApiState.MISCONFIGURED


@given(st.lists(st.tuples(st.sampled_from(VERDICTS), st.integers(0, 60)), max_size=60))
def test_no_row_of_answers_shuts_the_gate_for_ever(steps):
    gate, now = Gate(), NOW
    for verdict, seconds in steps:
        now += seconds * SECOND
        gate = (gate.claimed() if gate.room(now, 1) else gate).after(verdict, now, 0.5, "one")

    assert gate.shut_until is None or gate.shut_until <= now + LONGEST
    assert gate.unsent().room(max(now, gate.shut_until or now), 50) >= 1
    assert gate.status() == ApiStatus(gate.state, gate.reason, gate.since, gate.shut_until)
