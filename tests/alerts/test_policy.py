from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.alerts import policy
from cdc_sync.alerts.policy import Message, decide
from cdc_sync.operations.status import Trouble
from cdc_sync.state.values import AlertKind, KnownTrouble

pytestmark = pytest.mark.quick

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AFTER = timedelta(minutes=10)
AWAY = Trouble("api", "Delivery stands still.", "unreachable")


class People:
    """What they were told, minute by minute; with what is remembered from one look to the next."""

    def __init__(self) -> None:
        self.memory: dict[str, KnownTrouble] = {}
        self.told: list[tuple[float, AlertKind, str]] = []

    def look(self, minute: float, *troubles: Trouble) -> None:
        now = NOON + timedelta(minutes=minute)
        messages, memory = decide(troubles, self.memory, now, AFTER)
        self.memory = memory
        self.told += [(minute, message.kind, message.text) for message in messages]

    def look_until(self, minute: int, *troubles: Trouble, since: int = 0) -> None:
        for each in range(since, minute + 1):
            self.look(each, *troubles)

    def minutes(self, kind: AlertKind = AlertKind.TROUBLE) -> list[float]:
        return [minute for minute, told, _ in self.told if told is kind]


@pytest.fixture
def people() -> People:
    return People()


def test_a_problem_that_lasts_is_alerted_once_and_once_when_over(people: People):
    people.look_until(40, AWAY)
    people.look_until(60, since=41)

    begun = "Delivery stands still.\nSince 2026-03-01 12:00 UTC."
    over = (
        "Over: Delivery stands still.\nIt lasted from 2026-03-01 12:00 UTC to 2026-03-01 12:41 UTC."
    )
    assert people.told == [(10, AlertKind.TROUBLE, begun), (42, AlertKind.OVER, over)]


def test_a_short_problem_is_not_alerted(people: People):
    people.look_until(9, AWAY)
    people.look_until(60, since=10)

    assert people.told == []
    assert people.memory == {}


def test_a_gap_of_less_than_a_minute_is_no_end(people: People):
    for minute in range(30):
        people.look(minute, AWAY)
        people.look(minute + 0.5)

    assert people.minutes() == [10]
    assert people.minutes(AlertKind.OVER) == []


def test_a_flapping_problem_floods_nobody(people: People):
    for minute in range(24 * 60):
        people.look(minute, *([AWAY] if minute % 15 < 12 else []))

    assert len(people.minutes()) <= 24
    assert len(people.minutes(AlertKind.OVER)) <= len(people.minutes())


def test_a_growing_problem_is_alerted_again_but_not_soon(people: People):
    for minute in range(200):
        people.look(
            minute, Trouble("rejected", f"{minute // 20 + 1} are rejected.", minute // 20 + 1)
        )

    assert people.minutes() == [10, 70, 130, 190]
    assert people.told[1][2].startswith("4 are rejected.")


def test_a_shrinking_problem_is_not_alerted_until_it_grows_again(people: People):
    def refused(count: int) -> Trouble:
        return Trouble("rejected", f"{count} are rejected.", count)

    people.look_until(100, refused(5))
    people.look_until(200, refused(3), since=101)
    assert people.minutes() == [10]

    people.look_until(300, refused(4), since=201)
    assert people.minutes() == [10, 211]


def test_another_state_of_the_api_is_alerted(people: People):
    people.look_until(100, AWAY)
    people.look_until(200, Trouble("api", "Delivery stands still (unauthorized).", "unauthorized"), since=101)  # fmt: skip

    assert people.minutes() == [10, 111]
    assert "unauthorized" in people.told[1][2]


def test_each_problem_is_alerted_by_itself(people: People):
    people.look_until(20, AWAY)
    people.look_until(40, AWAY, Trouble("held", "3 are held.", 3), since=21)

    assert [says.split()[0] for _, _, says in people.told] == ["Delivery", "3"]


def test_a_clock_that_was_set_back_does_not_silence_alerts(people: People):
    people.look_until(20, AWAY)
    people.look_until(-80, since=-100)
    people.look_until(-50, AWAY, since=-79)

    assert [minute for minute in people.minutes() if minute < 0] != []


RECEIVERS = ["a", "b"]
TOLD = [Message(AlertKind.TROUBLE, f"{n}") for n in range(3)]


def test_each_receiver_gets_every_alert_in_order_and_a_failing_one_waits_alone():
    queue = policy.enqueue([], TOLD, RECEIVERS, NOON)
    first_a, first_b = policy.due(queue, NOON)
    assert (first_a.says, first_b.says) == ("0", "0")

    queue[queue.index(first_a)] = policy.postpone(first_a, NOON, 0.5)
    queue.remove(first_b)
    assert [(one.to, one.says) for one in policy.due(queue, NOON)] == [("b", "1")]
    later = policy.due(queue, NOON + timedelta(minutes=1))
    assert [(one.to, one.says) for one in later] == [("a", "0"), ("b", "1")]


def test_alerts_that_are_too_old_or_too_many_are_dropped():
    queue = policy.enqueue([], TOLD, RECEIVERS, NOON)
    assert {one.to for one in policy.enqueue(queue, [], ["b"], NOON)} == {"b"}
    assert policy.enqueue(queue, [], RECEIVERS, NOON + policy.KEPT) == []
    assert len(policy.enqueue(queue, TOLD * 100, ["a"], NOON)) == policy.QUEUE_LIMIT
