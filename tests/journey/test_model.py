"""The guarantees, held against whatever order of events hypothesis can think of.

`Pipeline` plays source, crashes, network and CustomerGauge around the real capture, state and
delivery. The second test breaks the product on purpose, for a machine that finds nothing proves
nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from cdc_sync.capture import page
from cdc_sync.contract import Payload, Reference, Status
from cdc_sync.delivery import answers
from cdc_sync.rules.compare import Change
from cdc_sync.rules.outcome import Claimed, Settlement
from cdc_sync.source import horizon
from cdc_sync.state import contracts, outbox, watermark
from cdc_sync.state.tables import BulkStatement, contract
from tests.support.model_machine import Pipeline
from tests.support.model_process import prepare

Machine: TypeAlias = Callable[[], Pipeline]
Patch: TypeAlias = pytest.MonkeyPatch

BOUNDED = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
UNTIL_CAUGHT = settings(
    BOUNDED,
    stateful_step_count=10,
    max_examples=300,
    phases=[Phase.generate],  # the smallest example is of no interest here
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("model")
    return partial(Pipeline, folder, prepare(folder))


def test_no_order_of_events_breaks_a_guarantee(pipeline: Machine):
    run_state_machine_as_test(pipeline, settings=BOUNDED)


def a_watermark_beyond_the_horizon(patch: Patch) -> None:
    patch.setattr(
        "cdc_sync.capture.poll.next_watermark",
        lambda _current, _end, horizon, *, last: horizon.clock,
    )


def a_horizon_that_no_late_commit_has(patch: Patch) -> None:
    nothing = {"lookback": timedelta(), "margin": timedelta()}
    compute = horizon.compute_horizon
    patch.setattr(
        horizon, "compute_horizon", lambda *seen, **known: compute(*seen, **known | nothing)
    )


def a_poll_that_undoes_a_move_by_hand(patch: Patch) -> None:
    advance = watermark.advance
    patch.setattr(
        watermark,
        "advance",
        lambda tx, _known, *to: advance(tx, watermark.read(tx), *to),
    )


def an_acknowledgement_that_is_not_stored(patch: Patch) -> None:
    def settle(tx: sa.Connection, settled: list[Settlement]) -> None:
        outbox.release(tx, [one.claimed for one in settled])

    patch.setattr(outbox, "settle", settle)


def a_claim_that_is_not_durable(patch: Patch) -> None:
    def claim(tx: sa.Connection, *rest: Any, **named: Any) -> list[Claimed]:
        claimed = really(tx, *rest, **named)
        outbox.release(tx, claimed)
        return claimed

    really = outbox.claim
    patch.setattr(outbox, "claim", claim)


def a_crash_that_leaves_no_doubt(patch: Patch) -> None:
    def free(tx: sa.Connection, now: datetime) -> int:
        is_claimed = contract.c.claimed_by.is_not(None)
        claimed = tx.execute(sa.select(contract.c.source_id).where(is_claimed)).scalars().all()
        freed = really(tx, now)
        which = contract.c.source_id.in_(claimed)
        tx.execute(sa.update(contract).where(which).values(in_doubt=sa.null()))
        return freed

    really = outbox.free_all_claims
    patch.setattr(outbox, "free_all_claims", free)


def a_lost_answer_that_is_not_confirmed(patch: Patch) -> None:
    patch.setattr("cdc_sync.rules.outcome.CONFIRM_AFTER", timedelta())


def a_diff_that_always_sends(patch: Patch) -> None:
    def compare(seen: Any, known: Any, **rest: Any) -> Change | None:
        nothing_like_it = known and known._replace(acknowledged=None, payload=Payload("{}"))
        return really(seen, nothing_like_it, **rest)

    def everything(tx: sa.Connection, payloads: Any) -> dict[Any, Any]:
        return {**dict.fromkeys(payloads), **contracts.find_rows(tx, payloads)}

    really = page.compare
    patch.setattr(page, "compare", compare)
    patch.setattr(contracts, "find_differing", everything)


def a_reference_chosen_anew(patch: Patch) -> None:
    def compare(seen: Any, known: Any, **rest: Any) -> Change | None:
        change = really(seen, known, **rest)
        if change is None or change.reference is None:
            return change
        return replace(change, reference=Reference(f"{change.source_id} {change.payload}"))

    really = page.compare
    patch.setattr(page, "compare", compare)


def an_answer_that_counts_for_a_newer_payload(patch: Patch) -> None:
    def settle(tx: sa.Connection, settled: list[Settlement]) -> None:
        for one in settled:
            row = sa.update(contract).where(contract.c.source_id == one.claimed.source_id)
            tx.execute(row.values(payload=one.claimed.payload))
        really(tx, settled)

    really = outbox.settle
    patch.setattr(outbox, "settle", settle)


def a_late_answer_that_releases_what_the_guard_has_not_judged(patch: Patch) -> None:
    patch.setattr(outbox, "_settle_late", BulkStatement(outbox._SETTLEMENT, _settle_late))


def _settle_late(given: sa.FromClause) -> sa.Update:
    values = {"in_doubt": given.c.doubted, "status": "pending", "next_attempt_at": given.c.at}
    return sa.update(contract).where(contract.c.source_id == given.c.id).values(values)


def a_payload_of_the_past(patch: Patch) -> None:
    first: dict[str, Payload] = {}

    def of_the_past(now: Claimed) -> Claimed:
        past = first.setdefault(now.source_id, now.payload)
        return now if past == now.acknowledged else now._replace(payload=past)

    really = outbox.claim
    patch.setattr(
        outbox, "claim", lambda *rest, **named: [*map(of_the_past, really(*rest, **named))]
    )


def a_refusal_that_is_tried_again(patch: Patch) -> None:
    def settle(*attempt: Any) -> Settlement:
        settlement = really(*attempt)
        if settlement.status is not Status.REJECTED:
            return settlement
        return settlement._replace(status=Status.PENDING, next_attempt_at=settlement.at)

    really = answers.settle
    patch.setattr(answers, "settle", settle)


@pytest.mark.parametrize(
    "defect",
    [
        a_watermark_beyond_the_horizon,
        a_horizon_that_no_late_commit_has,
        a_poll_that_undoes_a_move_by_hand,
        an_acknowledgement_that_is_not_stored,
        a_claim_that_is_not_durable,
        a_crash_that_leaves_no_doubt,
        a_lost_answer_that_is_not_confirmed,
        a_diff_that_always_sends,
        a_reference_chosen_anew,
        an_answer_that_counts_for_a_newer_payload,
        a_late_answer_that_releases_what_the_guard_has_not_judged,
        a_payload_of_the_past,
        a_refusal_that_is_tried_again,
    ],
)
def test_it_would_be_noticed(
    defect: Callable[[Patch], None], pipeline: Machine, monkeypatch: Patch
):
    defect(monkeypatch)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(pipeline, settings=UNTIL_CAUGHT)
