"""The whole pipeline as a machine of rules: hypothesis looks for a sequence that breaks it."""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cdc_sync.capture.poll import poll
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.config.model import Config
from cdc_sync.operations import actions
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.state import watermark
from tests.support import model_draws as draw
from tests.support.model_api import FATES, GOOD, CustomerGauge, Fate
from tests.support.model_draws import Event, Interruption, Stage
from tests.support.model_process import STILL, Process
from tests.support.model_source import LOOKBACK, Clock, Column, ModelSource, Row
from tests.support.model_truth import expect_recorded, expect_true
from tests.support.model_witness import ModelWitness

SEEN = ("late", "change", "revert", "rewind")
BEYOND_LOOKBACK = LOOKBACK.total_seconds() + 1
QUIET_TURNS = 40
QUIET_ROUNDS = 8


class Pipeline(RuleBasedStateMachine):
    """Source, process and CustomerGauge; the rules are what may happen to them, in any order."""

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__()
        (folder / "source.db").unlink(missing_ok=True)
        self.clock = Clock()
        self.source = ModelSource(folder / "source.db", self.clock)
        self.api = CustomerGauge(self.clock)
        self.witness = ModelWitness(self.source)
        self.process = Process(folder, config, self.clock, self.api, self.witness)
        self.references: dict[str, str] = {}
        for row_id in (1, 2):
            self.source.put(row_id, Row(code=draw.CODES[row_id - 1]))

    # The source

    @rule(row_id=draw.IDS, late=draw.LATE)
    def insert(self, row_id: int, late: float) -> None:
        if row_id not in self.source.rows:
            self.source.put(row_id, Row(code=draw.CODES[row_id - 1]), late=late)

    @rule(row_id=draw.IDS, column=draw.COLUMNS, late=draw.LATE)
    def update(self, row_id: int, column: Column, late: float) -> None:
        if row_id in self.source.rows:
            self.source.change(row_id, column, late=late)

    @rule(row_id=draw.IDS)
    def touch(self, row_id: int) -> None:
        if row_id in self.source.rows:
            self.source.touch(row_id)

    @rule(row_id=draw.IDS, late=draw.LATE)
    def revert(self, row_id: int, late: float) -> None:
        if row_id in self.source.rows:
            self.source.revert(row_id, late=late)

    @rule(row_id=draw.IDS, column=draw.COLUMNS)
    def update_without_stamp(self, row_id: int, column: Column) -> None:
        if row_id in self.source.rows:
            self.source.change_unstamped(row_id, column)

    @rule(row_id=draw.IDS)
    def delete(self, row_id: int) -> None:
        if row_id in self.source.rows and len(self.source.rows) > 1:
            self.source.delete(row_id)

    # The process

    @rule(between=draw.INTERRUPTIONS)
    def poll(self, between: list[Interruption]) -> None:
        self._capture(poll, between)

    @rule(between=draw.INTERRUPTIONS)
    def reconcile(self, between: list[Interruption]) -> None:
        self._capture(reconcile, between)

    @rule()
    def turn(self) -> None:
        self.process.in_turn = True
        with self.process.alive() as sync:
            sync.delivery.wake()
            sync.delivery._turn()
            self.witness.pause_seen = self.witness.paused
            self.process.sender.leave()

    @precondition(lambda self: self._under_way())
    @rule(place=st.integers(0, 1), fate=draw.ANSWERS)
    def answer(self, place: int, fate: Fate) -> None:
        with self.process.alive():
            self.process.sender.answer(place, fate)
            self.process.point()

    @precondition(lambda self: self._under_way())
    @rule(fate=draw.ANSWERS)
    def answer_late(self, fate: Fate) -> None:
        """Another daemon has ended the claims of what is on its way, and then it is answered."""
        self.process.crash_in = self.process.state_fails_in = None
        self.process.lose_claims()
        self.witness.lost_claims()
        while self._under_way():
            self.answer(0, fate)
        self.turn()
        self.nothing_is_due_that_the_guard_has_not_judged()

    @rule(row_id=draw.IDS, plan=draw.PLANS, fate=draw.ANSWERS)
    def answer_late_beside_a_run_that_is_not_judged(
        self, row_id: int, plan: str, fate: Fate
    ) -> None:
        self.process.crash_in = self.process.state_fails_in = None
        self.insert(row_id, 0)
        self._capture(reconcile, [])  # the first one is under no guard
        self.deliver([])
        self.update(row_id, ("plan", plan), 0)
        self.time_passes(BEYOND_LOOKBACK)
        self.poll([])
        self.turn()
        if self._under_way():
            self.update_without_stamp(row_id, ("plan", f"{plan} Plus"))
            self.process.between = [lambda: None, lambda: self.answer_late(fate)]
            with self.process.alive() as sync:
                reconcile(sync.capture, STILL)
            self.process.between = []

    @rule(events=draw.EVENTS)
    def deliver(self, events: list[Event]) -> None:
        for _ in range(QUIET_TURNS):
            self.turn()
            if not self._under_way():
                return
            while self._under_way():
                self._meet(*(events.pop(0) if events else draw.UNEVENTFUL))
                if not self.process.running:
                    return
        raise AssertionError("delivery does not come to rest")

    @initialize(row_id=draw.IDS, stages=draw.STAGES)
    def first_journey(self, row_id: int, stages: list[Stage]) -> None:
        self.journey(row_id, stages)

    @rule(row_id=draw.IDS, stages=draw.STAGES)
    def journey(self, row_id: int, stages: list[Stage]) -> None:
        self.insert(row_id, 0)
        for reverts, column, events in stages:
            if reverts:
                self.revert(row_id, 0)
            else:
                self.update(row_id, column, 0)
            self.time_passes(1.0)
            self.poll([])
            self.deliver(events)

    @rule(points=st.integers(0, 12))
    def crash_soon(self, points: int) -> None:
        self.process.crash_in = points

    @rule()
    def crash(self) -> None:
        self.process.die()

    @rule(moments=st.integers(0, 5))
    def state_fails_soon(self, moments: int) -> None:
        self.process.state_fails_in = moments

    @rule()
    def stop(self) -> None:
        while self._under_way():
            self.answer(0, GOOD)
        self.process.in_turn = True
        with self.process.alive() as sync:
            sync.delivery._finish()
        self.process.die()

    # Persons, time and the network

    @rule(which=st.sampled_from(("set", "rewind", "reset")), seconds=st.sampled_from((1, 90, 7200)))
    def move_watermark(self, which: str, seconds: int) -> None:
        with self.process.alive():
            self._move(which, seconds)

    @rule(is_on=draw.SELDOM)
    def pause(self, is_on: bool) -> None:
        with self.process.alive() as sync:
            if is_on:
                actions.pause(sync.state)
                self.witness.paused, self.witness.pause_seen = True, False
            else:
                self.witness.paused = False
                actions.resume(sync.state, self.clock.now())

    @rule()
    def retry(self) -> None:
        with self.process.alive() as sync:
            self.witness.retried()
            actions.retry(sync.state, None, self.clock.now())

    @rule(away=draw.SELDOM)
    def token_endpoint(self, away: bool) -> None:
        self.process.token_refused = away

    @rule(seconds=st.sampled_from((0.2, 1.0, 4.0, 30.0, 61.0, 600.0)))
    def time_passes(self, seconds: float) -> None:
        until = self.clock.at + timedelta(seconds=seconds)
        while self._under_way() and (at := self.process.sender.next_time_out()) and at <= until:
            self.clock.at = max(at, self.clock.at)
            self.answer(0, FATES["time-out before applying"])
        self.clock.at = until
        self.api.apply_what_is_due()

    @rule(place=st.integers(0, 3))
    def apply_late(self, place: int) -> None:
        self.api.apply_one_late(place)

    # What must hold

    @invariant()
    def a_reference_never_changes_and_is_one_contracts_own(self) -> None:
        if not self.process.running:
            return
        found = {name: row.reference for name, row in self.process.rows().items()}
        found = {name: reference for name, reference in found.items() if reference is not None}
        assert self.references.items() <= found.items(), f"{self.references} became {found}"
        assert len(set(found.values())) == len(found), f"two share a reference: {found}"
        self.references = found

    @invariant()
    def nothing_is_due_that_the_guard_has_not_judged(self) -> None:
        if self.process.running:
            due = [row for row in self.process.rows().values() if row.next_attempt_at]
            unjudged = [row for row in due if row.held_run is not None]
            assert not unjudged, f"{unjudged} go before the end of their run"

    @invariant()
    def the_watermark_passes_only_what_is_recorded(self) -> None:
        if self.process.running and not self.source.hidden:
            expect_recorded(self.process.rows(), self.source, self.process.watermark())

    def teardown(self) -> None:
        try:
            if sys.exception() is None:  # else what was found first is to be told
                self._settle()
        finally:
            self.process.end()
            self.source.close()

    # How it is done

    def _under_way(self) -> bool:
        return self.process.running and bool(self.process.sender.under_way)

    def _capture(self, capture: Callable[..., Any], between: list[Interruption]) -> None:
        self.process.between = [self._interruption(*one) for one in between]
        self.process.moved_by_hand = False
        with self.process.alive() as sync:
            capture(sync.capture, STILL)
            if capture is reconcile and not between:
                self.source.hidden = False
        self.process.between = []

    def _meet(self, meanwhile: str, column: Column, fate: Fate) -> None:
        """What happens to the source while a PUT is on its way, is seen, and is then answered."""
        row_id = int(self.process.sender.under_way[0].job.task.source_id)
        if meanwhile == "late":
            self.update(row_id, column, 0)
            self.poll([])
            self.revert(row_id, draw.LATEST)
        if meanwhile in ("change", "rewind"):
            self.update(row_id, column, 0)
        if meanwhile == "revert":
            self.revert(row_id, 0)
        if meanwhile in SEEN:
            self.time_passes(BEYOND_LOOKBACK)
            self.poll([("rewind", row_id, column)] if meanwhile == "rewind" else [])
        if self._under_way():
            self.answer(0, fate)
        if meanwhile == "crash":
            self.process.die()

    def _interruption(self, what: str, row_id: int, column: Column) -> Callable[[], None]:
        def happens() -> None:
            if what in ("set", "rewind", "reset"):
                self._move(what, 90)
                self.process.moved_by_hand = True
            elif what == "insert":
                self.insert(row_id, 0)
            elif what == "delete":
                self.delete(row_id)
            else:
                self.update(row_id, column, draw.LATEST if what == "late" else 0)

        return happens

    def _move(self, which: str, seconds: int) -> None:
        now = self.clock.now()
        with self.process.commit() as tx:
            known = watermark.read(tx)
            to: datetime | None = None
            if which == "set":  # forward, as with --force
                to = now
                self.source.skip()
            elif which == "rewind" and isinstance(known.value, datetime):
                to = known.value - timedelta(seconds=seconds)
            kind = WatermarkType.TIMESTAMP
            watermark.move(tx, to, type_=kind, kind=which, who="anna", reason=None, now=now)

    def _settle(self) -> None:
        """All is well again, and there is time: CustomerGauge is to hold what the source does."""
        self.process.crash_in = self.process.state_fails_in = None
        self.process.token_refused = False
        self.pause(is_on=False)
        for _ in range(QUIET_ROUNDS):
            self._round()
            if not any(row.next_attempt_at for row in self.process.rows().values()):
                break
        sent = self.api.puts
        self._round()
        assert self.api.puts == sent, "something is sent although nothing has changed"
        expect_true(self.process.rows(), self.source, self.api, self.witness)

    def _round(self) -> None:
        self.time_passes(1200)
        self._capture(reconcile if self.source.hidden else poll, [])
        self.deliver([])
