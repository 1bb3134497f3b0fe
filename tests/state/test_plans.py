"""How the state's databases would run each statement: nothing may grow with the square of the table.

A statement that is given a key, a status or a limit reads no whole table.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.capture.page import compare_page
from cdc_sync.contract import Mapped, Payload, Reference, SourceId, Status, payload_of
from cdc_sync.rules.guard import Held
from cdc_sync.rules.outcome import Attempt, settle
from cdc_sync.rules.verdict import Accepted, Refused
from cdc_sync.state import contracts, history, holds, lookup, outbox
from cdc_sync.state.database import Database

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROWS = 20_000
START = '{"account":"ACME 7"'
PAYLOAD = '{"account":"ACME %s","description":"Gold","start":"2026-01-01"}'
IDS = [SourceId(f"id{number:08}") for number in range(100, 120)]
NEW_IDS = [SourceId(f"new{number}") for number in range(20)]
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
    f" WHERE n < {ROWS}) ",
    "postgresql": f"WITH numbers AS (SELECT n FROM generate_series(1, {ROWS}) AS numbers(n)) ",
}
_STATUS = "CASE n - n / 100 * 100 WHEN 1 THEN 'pending' WHEN 2 THEN 'rejected' WHEN 3 THEN 'waiting' WHEN 4 THEN 'gone' WHEN 5 THEN 'held' ELSE 'synced' END"  # fmt: skip
_ID = {"sqlite": "'id' || substr(n + 100000000, 2)", "postgresql": "'id' || lpad(n::text, 8, '0')"}
_AT = {"sqlite": "'2026-11-24 11:00:00.000000'", "postgresql": "'2026-11-24 11:00:00+00'::timestamptz"}  # fmt: skip


@pytest.fixture
def filled(state: Database) -> Database:
    """A state with some thousands of contracts, a few of each status, and their history."""
    backend = state.backend
    id_, at = _ID[backend], _AT[backend]
    payload = """'{"account":"ACME ' || n || '","description":"Gold","start":"2026-01-01"}'"""
    insert = "INSERT INTO contract (source_id, reference, payload, acknowledged, status, attempts, next_attempt_at, held_run, first_seen_at, changed_at)"  # fmt: skip
    due, held = (
        f"CASE WHEN n - n / 100 * 100 = {rest} THEN {what} END" for rest, what in ((1, at), (5, 1))
    )
    select = f"SELECT {id_}, 'erp-' || n, {payload}, {payload}, {_STATUS}, 0, {due}, {held}, {at}, {at} FROM numbers"  # fmt: skip
    with_numbers = _NUMBERS[backend]
    with state.begin() as tx:
        tx.exec_driver_sql(f"{insert} {with_numbers} {select}")
        tx.exec_driver_sql(f"INSERT INTO delivery (at, source_id, reference, http_status) {with_numbers} SELECT {at}, {id_}, 'erp-' || n, 200 FROM numbers")  # fmt: skip
        tx.exec_driver_sql(f"INSERT INTO run (kind, started, rows, changed, created, updated, rejected) {with_numbers} SELECT 'poll', {at}, 0, 0, 0, 0, 0 FROM numbers")  # fmt: skip
        tx.exec_driver_sql("ANALYZE")
    return state


def row(name: SourceId, plan: str = "Silver") -> Mapped:
    payload = payload_of({"account": "ACME", "description": plan, "start": "2026-01-01"})
    return Mapped(name, False, Reference(f"erp-{name}"), payload, ())


def deliver(tx: Connection) -> None:
    until = NOW + timedelta(minutes=1)
    claimed = outbox.claim(tx, NOW, 64, "me", until, claimed_at=NOW, exclude=NEW_IDS)
    assert len(claimed) == 64
    attempt = Attempt(NOW, NOW, 200, NOW)
    outbox.settle(tx, [settle(one, Accepted(created=False), attempt, 0.0) for one in claimed[:20]])
    outbox.settle(tx, [settle(one, Refused(()), attempt, 0.0) for one in claimed[20:40]])
    outbox.release(tx, claimed[40:])


def capture(tx: Connection) -> None:
    contracts.lock_rows(tx, IDS)
    changes = compare_page(tx, [row(name) for name in (*IDS, *NEW_IDS)])
    contracts.record_changes(tx, changes, NOW)


def judge(tx: Connection) -> None:
    which = holds.is_unjudged([2])
    capture(tx)
    holds.count_changes(tx, which)
    holds.hold(tx, which, Held(changes=True), 2)
    holds.release(tx, which, ends=False, now=NOW)
    holds.release(tx, holds.is_held_until(0), ends=True, now=NOW)
    holds.page_of_held(tx, 2, IDS[0], 100)
    holds.save_report(tx, 2, "reconcile", 100, NOW)
    holds.list_examples(tx)
    holds.remove_report_if_none_held(tx)


def look_up(tx: Connection) -> None:
    contracts.find_rows(tx, IDS)
    contracts.find_owners(tx, [Reference("erp-1"), Reference("erp-2")])
    contracts.find_differing(tx, dict.fromkeys(IDS, Payload(PAYLOAD % 1)))
    contracts.find(tx, "erp-100")
    for status in (None, *Status):
        contracts.list_page(tx, status, IDS[0], 100)
        if status not in (None, Status.SYNCED):
            contracts.find_example_error(tx, status)
            contracts.count_with_status(tx, status)
            list(lookup.list_stuck(tx, status, 100))
    contracts.count_departing(tx)
    lookup.find_by_account(tx, "ACME 77", None, 50)
    lookup.find_stored(tx, IDS)
    pairs = [lookup.ReferencePair(name, Reference(f"new-{name}")) for name in IDS]
    lookup.assign_references(tx, pairs)


def look_at_the_outbox(tx: Connection) -> None:
    list(outbox.list_due(tx, NOW, 10))
    outbox.count_due(tx, NOW)
    outbox.count_left(tx, NOW)
    outbox.list_postponed(tx, NOW)
    outbox.next_due_at(tx)
    list(outbox.list_waiting_payloads(tx))
    outbox.record_account_refusal(tx, START, ())
    outbox.resume_waiting(tx, START, NOW)
    outbox.retry(tx, IDS, NOW)
    outbox.resend(tx, IDS, NOW)
    outbox.retry(tx, None, NOW)
    outbox.free_claims_of(tx, "who died", IDS, NOW)
    outbox.free_all_claims(tx, NOW)
    if tx.dialect.name == "postgresql":
        outbox.free_expired_claims(tx)


def look_at_the_history(tx: Connection) -> None:
    history.list_deliveries(tx, IDS[0], 20)
    history.list_runs(tx, 500, 20)
    history.count_late(tx, NOW)
    history.taken_since(tx, NOW)
    history.prune(tx, NOW - timedelta(days=90), 1000)


@pytest.mark.parametrize("work", [deliver, capture, judge, look_up, look_at_the_outbox, look_at_the_history])  # fmt: skip
def test_no_statement_reads_a_whole_table(filled: Database, work: Callable[[Connection], None]):
    with filled.engine.connect() as connection, recording(connection) as statements:
        work(connection)
        scans = dict(scans_of(connection, statements))
        connection.rollback()

    assert not scans, "\n\n".join(f"{text}\n  {found}" for text, found in scans.items())


def test_what_a_full_scan_did_not_see_is_found_by_one_look_at_each_contract(filled: Database):
    """`NOT IN` compares each with each once the ids are too many for work_mem."""
    with contracts.open_seen_ids(filled) as seen:
        connection = seen._connection
        if filled.backend == "postgresql":
            connection.exec_driver_sql("SET work_mem = '64kB'")
            connection.commit()
        with filled.read() as tx:
            ids = list(tx.execute(sa.select(contracts.contract.c.source_id)).scalars())
        seen.add(ids[: ROWS // 2])
        with recording(connection) as statements:
            missing = [row.source_id for page in seen.missing(1000) for row in page]
        (*_, (text, values)) = statements
        plan = plan_of(connection, text, values)
        connection.rollback()

    assert len(missing) > ROWS // 3
    assert missing == sorted(missing)
    assert not any(scan.startswith("for each row") for scan in plan), plan


class recording:  # noqa: N801  # a context manager
    """Records the statements of a connection, with their values."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.statements: list[tuple[str, Any]] = []

    def __enter__(self) -> list[tuple[str, Any]]:
        sa.event.listen(self._connection, "before_cursor_execute", self._record)
        return self.statements

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self._connection, "before_cursor_execute", self._record)

    def _record(self, _c: object, _cursor: object, text: str, values: Any, *_: object) -> None:
        self.statements.append((text, values))


def scans_of(connection: Connection, statements: list[tuple[str, Any]]) -> Iterator[tuple[str, list[str]]]:  # fmt: skip
    for text, values in list(statements):
        first = values[0] if isinstance(values, list) else values
        if found := plan_of(connection, text, first):
            yield text, found


def plan_of(connection: Connection, text: str, values: Any) -> list[str]:
    """The scans of a whole table in the plan; those that are made for each row of another say so."""
    if connection.dialect.name == "postgresql":
        ((plan,),) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", values)
        return list(_postgresql_scans(plan[0]["Plan"], often=False))
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
    tables = ("SCAN contract", "SCAN delivery", "SCAN run", "SCAN seen")
    return [
        ("for each row: " if "CORRELATED" in rows[max(0, place - 1)][3] else "") + step[3]
        for place, step in enumerate(rows)
        if step[3].startswith(tables) and " USING " not in step[3]
    ]


def _postgresql_scans(node: dict[str, Any], *, often: bool) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("contract", "delivery", "run", "seen"):  # fmt: skip
        yield f"{'for each row: ' if often else ''}Seq Scan on {node['Relation Name']}"
    for below in node.get("Plans", ()):
        is_inner = node["Node Type"] == "Nested Loop" and below["Parent Relationship"] == "Inner"
        is_repeated = below["Parent Relationship"] == "SubPlan" and "hashed" not in json.dumps(
            node.get("Filter", "")
        )
        yield from _postgresql_scans(below, often=often or is_inner or is_repeated)
