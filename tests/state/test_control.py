"""Typed values in the `control` table: what is stored stays readable between versions."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from cdc_sync.errors import StateUnreadable
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.pace import SharedPace
from cdc_sync.rules.verdict import ApiState
from cdc_sync.state import control
from cdc_sync.state.tables import control as table
from cdc_sync.state.values import (
    AlertKind,
    AlertMemory,
    DeliveryReport,
    Fingerprint,
    GuardRunNumber,
    HorizonReport,
    Identity,
    KnownTrouble,
    Paused,
    PollReport,
    Presence,
    ProbeRequest,
    Request,
    Totals,
    UnjudgedRuns,
    UnsentAlert,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
ALERT = UnsentAlert("a", AlertKind.OVER, "Over.", NOW, 2, NOW)
TROUBLES = {
    "api": KnownTrouble("It stands still.", NOW, None, "unreachable", NOW),
    "held": KnownTrouble("Held.", NOW, NOW, 7),
}
VALUES = [
    AlertMemory(TROUBLES, (ALERT,)),
    ApiStatus(ApiState.THROTTLED, "429", NOW, NOW + timedelta(seconds=1)),
    DeliveryReport(NOW, None),
    Fingerprint("a", "b"),
    GuardRunNumber(7),
    HorizonReport("5", "session 1", "lookback", "why", "what to do", NOW, ("5", 3)),
    Identity("http://127.0.0.1", "ärzte"),
    Paused(is_paused=True),
    PollReport(NOW, NOW.replace(microsecond=0), NOW, 1, 2, "why"),
    ProbeRequest(NOW),
    SharedPace(NOW, None, 12.5, NOW, 4),
    Totals({"created": 1, "a kind of a newer version": 2}),
    UnjudgedRuns((1, 2)),
]


def store(state, key: str, document: Any) -> None:
    with state.begin() as tx:
        tx.execute(table.insert().values(key=key, value=json.dumps(document)))


def stored(state, key: str) -> Any:
    with state.read() as tx:
        return json.loads(
            tx.execute(sa.select(table.c.value).where(table.c.key == key)).scalar_one()
        )


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_read_as_it_was_saved(state, value):
    with state.begin() as tx:
        control.save(tx, value)
        control.save(tx, value)
    with state.read() as tx:
        assert control.load(tx, type(value)) == value
        assert control.read_snapshot(tx).load(type(value)) == value
    with state.begin() as tx:
        control.remove(tx, type(value))
        assert control.load(tx, type(value)) is None


def test_values_of_one_type_are_kept_apart_by_name(state):
    first, second = (Presence(pid, "here", NOW, NOW, "active") for pid in (1, 2))
    with state.begin() as tx:
        control.save(tx, first, "a")
        control.save(tx, second, "b")
        control.save(tx, second)
        control.save(tx, Request("1", "once"), "a")
    with state.read() as tx:
        assert control.read_snapshot(tx).named(Presence) == {"a": first, "b": second}
        assert control.load(tx, Presence) == second


def test_a_key_of_another_version_is_ignored_and_a_missing_one_has_its_default(state):
    store(state, "pace", {"next_at": None, "until": None, "peak": 3.0, "surprise": [1]})
    store(state, "horizon", {"horizon": "5", "clock": NOW.isoformat()})
    with state.read() as tx:
        assert control.load(tx, SharedPace) == SharedPace(peak=3.0)
        assert control.load(tx, HorizonReport) == HorizonReport("5", clock=NOW)


def test_the_values_of_a_single_field_are_stored_as_the_first_version_stored_them(state):
    with state.begin() as tx:
        control.save(tx, Paused(is_paused=True))
        control.save(tx, ProbeRequest(NOW))
        control.save(tx, UnjudgedRuns((1, 2)))
        control.add_to_totals(tx, {"created": 2})
        control.add_to_totals(tx, {"created": 1, "updated": 1})

    assert stored(state, "paused") is True
    assert datetime.fromisoformat(stored(state, "resumed_at")) == NOW
    assert stored(state, "guard_waiting_runs") == [1, 2]
    assert stored(state, "totals") == {"created": 3, "updated": 1}


def test_a_value_that_cannot_be_read_is_named(state):
    store(state, "api", {"state": "a state of a newer version"})
    with state.read() as tx, pytest.raises(StateUnreadable, match="`api` cannot be read"):
        control.load(tx, ApiStatus)
