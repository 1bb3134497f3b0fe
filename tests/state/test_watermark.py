"""The stored watermark: a person's move always wins."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.state import watermark
from cdc_sync.state.database import open_state

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
STAMP = WatermarkType.TIMESTAMPTZ


def read(state):
    with state.read() as tx:
        return watermark.read(tx)


def advance(state, known, to, type_=STAMP):
    with state.begin() as tx:
        return watermark.advance(tx, known, to, type_, NOW)


def move(state, to):
    with state.begin() as tx:
        return watermark.move(tx, to, type_=STAMP, kind="rewind", who="ann", reason="why", now=NOW)


@pytest.mark.parametrize(("value", "type_"), [(NOW, STAMP), (2**60, WatermarkType.INTEGER)])
def test_a_watermark_is_kept_with_its_type(state, value, type_):
    moved = advance(state, read(state), value, type_)

    assert read(state) == moved
    assert (moved.value, moved.type, moved.version, moved.moved_at) == (value, type_, 1, NOW)


def test_a_watermark_that_does_not_move_is_not_written(state):
    known = advance(state, read(state), NOW)

    assert advance(state, known, NOW) == known


def test_a_poll_does_not_undo_a_persons_move(state):
    known = advance(state, read(state), NOW)
    move(state, NOW - HOUR)

    assert advance(state, known, NOW + HOUR) is None
    assert read(state).value == NOW - HOUR


def test_a_persons_move_before_the_first_run_stands(state):
    known = read(state)
    move(state, NOW - HOUR)

    assert advance(state, known, NOW) is None


def test_a_person_who_moves_it_while_a_page_is_being_recorded_wins(state, state_url):
    known = advance(state, read(state), NOW)
    beside = open_state(state_url)  # as another process would
    with state.begin() as tx:
        polled = watermark.advance(tx, known, NOW + HOUR, STAMP, NOW)
        person = threading.Thread(target=move, args=(beside, NOW - HOUR))
        person.start()
        person.join(0.2)  # it waits for this transaction, on every database
        assert person.is_alive()
    person.join(20)
    beside.close()

    assert read(state).value == NOW - HOUR
    assert advance(state, polled, NOW + 2 * HOUR) is None
    assert read(state).value == NOW - HOUR


def test_moves_by_persons_are_kept_newest_first(state):
    advance(state, read(state), NOW)
    move(state, NOW - HOUR)
    move(state, None)
    with state.read() as tx:
        latest, first = watermark.history(tx, 10)

    assert first == {"at": NOW, "who": "ann", "from": "2026-11-24T12:00:00.123456Z", "to": "2026-11-24T11:00:00.123456Z", "kind": "rewind", "reason": "why"}  # fmt: skip
    assert (latest["to"], read(state).value) == (None, None)
