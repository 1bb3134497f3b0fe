"""References that CustomerGauge knows, taken into the state: one suite, SQLite and PostgreSQL."""

import io
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cdc_sync.contract import Mapped, Problem, Reference, SourceId, payload_of
from cdc_sync.operations import references as files
from cdc_sync.rules.compare import Action, compare, compare_gone
from cdc_sync.rules.outcome import Attempt, OutcomeKind, settle
from cdc_sync.rules.verdict import Accepted, Refused
from cdc_sync.state import contracts, lookup, outbox
from cdc_sync.state.database import open_state
from cdc_sync.state.schema import upgrade_tables
from tests.support.wait import wait_until

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
TODAY = date(2026, 11, 24)
A = payload_of({"account": "A", "start": "2024-01-01", "end": None})
B = payload_of({"account": "B", "start": "2024-01-01", "end": None})
BROKEN = (Problem("account", "must not be empty"),)


@pytest.fixture
def take(state, tmp_path):
    def take(*pairs, dry_run=False):
        path = tmp_path / "references.csv"
        path.write_text("".join(f"{line}\n" for line in ("source_id,reference", *pairs)))
        return files.import_file(state, path, 1, NOW, dry_run=dry_run)

    return take


def see(state, source_id="1", payload=A, problems=()):
    with state.begin() as tx:
        known = contracts.find_rows(tx, [source_id])
        before = contracts.to_known(known[source_id]) if known else None
        reference = Reference(f"erp-{source_id}")
        change = compare(Mapped(SourceId(source_id), False, reference, payload, problems), before)
        contracts.record_changes(tx, [change] if change else [], NOW)
        return change


def send(state, verdict, status):
    with state.begin() as tx:
        claimed = outbox.claim(tx, NOW, 100, "me", NOW + timedelta(seconds=90), claimed_at=NOW)
        settled = [settle(one, verdict, Attempt(NOW, NOW, status, NOW), 0.0) for one in claimed]
        outbox.settle(tx, settled)
        return settled


def known(state, source_id="1"):
    with state.read() as tx:
        return contracts.to_known(contracts.find_rows(tx, [source_id])[source_id])


def facts(state, source_id="1"):
    with state.read() as tx:
        row = contracts.find(tx, source_id)
    return row["reference"], row["status"], row["payload"], row["acknowledged"]


def says(done):
    return [(mistake.line, mistake.message) for mistake in done.mistakes]


def exported(state):
    to = io.StringIO(newline="")
    files.export(state, to)
    return to.getvalue()


@pytest.mark.parametrize(
    ("created", "status", "kind"),
    [(False, 200, OutcomeKind.UPDATED), (True, 201, OutcomeKind.RECREATED)],
)
def test_an_imported_contract_is_an_update_under_its_reference_once_its_row_is_seen(
    state, take, created, status, kind
):
    take("1,CG-77")
    change = see(state)
    (settled,) = send(state, Accepted(created=created), status)

    assert (change.action, change.reference) == (Action.UPDATE, "CG-77")
    assert settled.kind is kind
    assert facts(state) == ("CG-77", "synced", A, A)


def test_an_imported_contract_that_the_source_never_shows_is_never_due(state, take):
    take("1,CG-77")

    with state.read() as tx:
        assert outbox.count_due(tx, NOW + timedelta(days=9)) == 0
    assert compare_gone(known(state), ends_on=TODAY) is None
    assert facts(state) == ("CG-77", "gone", "{}", "{}")


def test_a_pending_contract_goes_out_under_the_imported_reference(state, take):
    see(state)
    done = take("1,CG-77")
    (settled,) = send(state, Accepted(created=False), 200)

    assert (done.imported, done.not_met) == (1, 0)
    assert (settled.claimed.reference, settled.kind) == ("CG-77", OutcomeKind.UPDATED)


def test_a_pending_contract_whose_reference_was_right_is_no_longer_somebody_elses(state, take):
    see(state)

    assert take("1,erp-1").imported == 1
    assert send(state, Accepted(created=False), 200)[0].kind is OutcomeKind.UPDATED


def test_the_same_file_again_changes_nothing(state, take):
    see(state)
    first, again = take("1,CG-1", "2,CG-2"), take("1,CG-1", "2,CG-2")
    send(state, Accepted(created=False), 200)

    assert (first.imported, first.unchanged) == (2, 0)
    assert (again.imported, again.unchanged, again.mistakes) == (0, 2, [])
    assert take("1,CG-1").unchanged == 1


def test_one_whose_reference_another_had_is_judged_again_when_it_is_seen(state, take):
    see(state, "1")
    taken = (Problem("reference", "erp-1 belongs to 1 already"),)
    with state.begin() as tx:
        refused = compare(Mapped(SourceId("2"), False, None, A, taken), None)
        contracts.record_changes(tx, [refused], NOW)
    done = take("2,CG-2")

    assert done.refused_by_us == 1
    assert see(state, "2").action is Action.UPDATE
    assert facts(state, "2")[:2] == ("CG-2", "pending")


def test_two_that_were_never_sent_may_change_references(state, take):
    see(state, "1")
    see(state, "2")

    assert take("1,erp-2", "2,erp-1").imported == 2
    assert exported(state) == "source_id,reference\n1,erp-2\n2,erp-1\n"


def test_a_reference_never_changes_after_its_first_put(state, take):
    for source_id in "123":
        see(state, source_id)
    with state.begin() as tx:
        in_doubt, _ = outbox.claim(tx, NOW, 2, "me", NOW, claimed_at=NOW)
        outbox.settle(
            tx, [settle(in_doubt, Accepted(created=True), Attempt(NOW, NOW, 201, NOW), 0.0)]
        )
    done = take("1,CG-1", "2,CG-2", "3,CG-3")

    assert says(done) == [
        (2, "1 was sent under the reference erp-1 already"),
        (3, "2 was sent under the reference erp-2 already"),
    ]
    assert done.imported == 0
    assert facts(state, "3") == ("erp-3", "pending", A, None)


def test_what_customergauge_refused_may_have_another_reference(state, take):
    see(state)
    send(state, Refused((Problem("reference", "is bad"),)), 422)

    assert take("1,CG-1").imported == 1
    assert facts(state)[:2] == ("CG-1", "rejected")


def test_a_reference_of_another_contract_is_named_with_its_owner(state, take):
    see(state, "1")

    assert says(take("2,CG-2", "3,erp-1")) == [(3, "the reference erp-1 belongs to 1")]
    assert exported(state) == "source_id,reference\n", "nothing was taken, and 1 was never sent"


def test_a_reference_whose_owner_was_sent_and_cannot_give_it_away_is_not_taken(state, take):
    see(state, "1")
    send(state, Accepted(created=True), 201)

    assert [line for line, _ in says(take("1,CG-1", "2,erp-1"))] == [2, 3]


def test_a_dry_run_says_the_same_and_leaves_the_state_as_it_is(state, take):
    see(state)
    before = facts(state)

    assert take("1,CG-1", "2,CG-2", dry_run=True) == files.ImportResult(2, 0, 1, 0, [])
    assert facts(state) == before
    assert exported(state) == "source_id,reference\n"


def test_the_end_of_an_imported_contract_that_is_gone_is_sent_with_the_whole_contract(state, take):
    take("1,CG-1")
    see(state)

    change = compare_gone(known(state), ends_on=TODAY)

    assert change.status == "pending"
    assert change.payload == payload_of({"account": "A", "start": "2024-01-01", "end": str(TODAY)})


def test_an_imported_contract_that_our_own_rules_refuse_is_gone_without_a_put(state, take):
    take("1,CG-1")
    see(state, problems=BROKEN)

    assert compare_gone(known(state), ends_on=TODAY).status == "gone"


def test_an_imported_contract_keeps_its_reference_while_it_is_refused_and_after(state, take):
    take("1,CG-1")
    see(state, problems=BROKEN)
    refused = facts(state)[:2]
    see(state, payload=B)

    assert refused == ("CG-1", "rejected")
    assert facts(state) == ("CG-1", "pending", B, "{}")


def test_an_export_leaves_out_what_has_no_reference_and_survives_odd_names(state, take):
    see(state, "none", problems=BROKEN)
    with state.begin() as tx:
        tx.execute(contracts.contract.update().values(reference=None))
    references_of = {'["ACME",17]': 'a "b", c', "Ø": "€ ;", "two\nlines": "x"}
    with state.begin() as tx:
        pairs = [lookup.ReferencePair(SourceId(k), Reference(v)) for k, v in references_of.items()]
        lookup.insert_imported(tx, pairs, NOW)
    text = exported(state)
    lines, mistakes = files.parse(text, 1)

    assert {line.pair.source_id: line.pair.reference for line in lines} == references_of
    assert mistakes == []


def test_an_import_waits_for_a_claim_that_is_not_committed_yet(
    postgresql_url: str, tmp_path: Path
) -> None:
    """A claim reads the reference and commits later: no file may come between."""
    ours, theirs = open_state(postgresql_url), open_state(postgresql_url)
    upgrade_tables(ours)
    see(ours)
    path = tmp_path / "references.csv"
    path.write_text("source_id,reference\n1,CG-1\n")
    done: list[files.ImportResult] = []

    def imports() -> None:
        done.append(files.import_file(theirs, path, 1, NOW, dry_run=False))

    thread = threading.Thread(target=imports, daemon=True)
    with ours.begin() as tx:
        rows = list(outbox.list_due(tx, NOW, 10))  # what a claim does first
        thread.start()
        wait_until(lambda: waits_for_lock(ours), "the import waits")
        assert len(outbox.claim(tx, NOW, 10, "me", NOW, claimed_at=NOW)) == len(rows) == 1
    thread.join(20)
    theirs.close()
    ours.close()

    assert says(done[0]) == [(2, "1 was sent under the reference erp-1 already")]


def waits_for_lock(state) -> bool:
    with state.read() as tx:
        waiting = tx.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar()
    return bool(waiting)
