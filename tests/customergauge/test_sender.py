"""What the sender lets go, and what it gives back, over HTTP."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.clock import utc_now
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import Job, Sender
from cdc_sync.customergauge.token import Token
from cdc_sync.log import Redaction
from tests.support.wait import wait_until

TOKEN = Token("not valid", datetime(2100, 1, 1, tzinfo=UTC))


@pytest.fixture
def sender_of(sandbox):
    made: list[Sender[int]] = []

    def make(step: float = 0.0, **keys) -> Sender[int]:
        document = {
            "base_url": sandbox.url,
            "token_url": f"{sandbox.url}/oauth2/token",
            "client_id": "sandbox",
            "client_secret": "sandbox",
            "rate_limit": "none",
        }
        config = CustomerGaugeConfig.model_validate(document | keys)
        made.append(
            Sender(
                config,
                Redaction([]),
                now=utc_now,
                doubt_now=utc_now,
                token=lambda: TOKEN,
                step_seconds=lambda: step,
                wake=lambda: None,
            )
        )
        return made[-1]

    yield make
    for sender in made:
        sender.close()


def jobs(*numbers: int, after: timedelta = timedelta(0)) -> list[Job[int]]:
    start = utc_now() + after
    return [Job(number, Request("contracts", b"{}"), start) for number in numbers]


def collected(sender: Sender[int], count: int) -> dict[int, int | None]:
    """The statuses by number; None: it never left."""
    wait_until(lambda: sender.done() >= count, f"{count} come back")
    return {one.task: one.reply and one.reply.status for one in sender.collect()}


def test_a_429_gives_back_what_has_not_left(sender_of, sandbox):
    sandbox.strike("status=429")
    sender = sender_of(concurrency=1)
    sender.submit(jobs(1, 2, 3))

    assert collected(sender, 3) == {1: 429, 2: None, 3: None}
    assert len(sandbox.ledger.entries()) == 1


def test_what_is_submitted_before_a_429_was_collected_does_not_leave(sender_of, sandbox):
    sandbox.strike("status=429 times=1")
    sender = sender_of()
    sender.submit(jobs(1))
    wait_until(lambda: sender.done() == 1, "the 429 is there, and nobody has looked")
    sender.submit(jobs(2, 3))

    assert collected(sender, 3) == {1: 429, 2: None, 3: None}
    sender.submit(jobs(4))
    assert collected(sender, 1) == {4: 401}


def test_what_is_taken_back_never_leaves_and_what_is_on_its_way_goes_on(sender_of, sandbox):
    sandbox.strike("hang=1s times=1")
    sender = sender_of(concurrency=1)
    sender.submit(jobs(1, 2))
    wait_until(lambda: sandbox.faults.listed()[0]["struck"], "the first is on its way")
    sender.take_back()
    assert collected(sender, 1) == {2: None}

    wait_until(sender.done, "the first comes back")
    (first,) = sender.collect()
    assert (first.task, first.reply.doubt) == (1, True)
    assert len(sandbox.ledger.entries()) == 1


def test_nothing_leaves_before_its_time(sender_of, sandbox):
    sender = sender_of(step=0.02)
    late = jobs(1, 2, after=timedelta(seconds=0.3))
    sender.submit(late)

    wait_until(lambda: sender.done() == 2, "both come back")
    assert min(one.began for one in sender.collect()) >= late[0].not_before


def test_what_a_stall_has_made_overdue_still_leaves_at_the_pace(sender_of, sandbox):
    sandbox.strike("status=500")  # an answer that gives nothing back
    sender = sender_of(step=0.05, concurrency=4)
    sender.submit(jobs(*range(6), after=-timedelta(seconds=10)))

    wait_until(lambda: sender.done() == 6, "all come back")
    began = [one.began for one in sender.collect()]
    assert max(began) - min(began) >= timedelta(seconds=5 * 0.05 - 0.005)


def test_a_close_cuts_what_is_on_its_way_and_lets_nothing_more_go(sender_of, sandbox):
    sandbox.strike("hang=30s")
    sender = sender_of(concurrency=1)
    sender.submit(jobs(1, 2))
    wait_until(lambda: sandbox.faults.listed()[0]["struck"], "the first is on its way")
    sender.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "http"]
    assert len(sandbox.ledger.entries()) == 1


def test_a_turn_that_was_missed_where_others_share_the_rate_comes_back_unsent(sender_of, sandbox):
    sender = sender_of(step=0.02)
    missed, coming = jobs(1, after=-timedelta(seconds=1)), jobs(2)
    late = timedelta(seconds=20)
    sender.submit([missed[0]._replace(not_after=missed[0].not_before + timedelta(seconds=0.5))])
    sender.submit([coming[0]._replace(not_after=coming[0].not_before + late)])

    assert collected(sender, 2) == {1: None, 2: 401}
    assert len(sandbox.ledger.entries()) == 1


def test_jobs_that_are_taken_back_as_soon_as_they_are_given_come_back_unsent(sender_of, sandbox):
    sender = sender_of()
    sender.submit(jobs(*range(20)))
    sender.take_back()

    wait_until(lambda: sender.done() == 20, "all of them are back")
    assert not sandbox.puts()
