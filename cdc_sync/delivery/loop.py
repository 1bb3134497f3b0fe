"""Claim, send, settle. One thread owns the outbox; settlements are committed in groups.

A claim is durable before its PUT leaves, and only an acknowledgement ends its doubt. What came
back and what goes next share one transaction.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from cdc_sync.clock import steady_clock
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.contract import SourceId, body_of
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import GROUP, Job, Sender, Sent
from cdc_sync.customergauge.token import TokenKeeper
from cdc_sync.delivery.accounts import Accounts, NewAccount
from cdc_sync.delivery.answers import Answers, Task
from cdc_sync.delivery.flow import Flow, Slot
from cdc_sync.errors import StateUnavailable
from cdc_sync.log import Redaction
from cdc_sync.measures import Measures
from cdc_sync.rules.gate import Gate
from cdc_sync.rules.outcome import Claimed
from cdc_sync.rules.verdict import ApiState
from cdc_sync.state import control, outbox
from cdc_sync.state.database import Database
from cdc_sync.state.lease import owner_id
from cdc_sync.state.outbox import free_expired_leases

log = structlog.get_logger()
LINGER_SECONDS = 0.1  # an acknowledgement waits this long for its group
LOG_EVERY = 20  # failures of the state in a row after which it is logged again
CONTROL_POLL_SECONDS = 1.0  # how often an idle loop looks for what persons asked for
STATE_BACKOFF_SECONDS = 15.0
LEASE_DEADLINES = 3  # a claim outlives a request's whole deadline so many times


class Delivery:
    """Delivers what is pending, in a thread of the caller's: `run` for ever, `drain` once."""

    def __init__(
        self,
        state: Database,
        config: CustomerGaugeConfig,
        tokens: TokenKeeper,
        redact: Redaction,
        *,
        now: Callable[[], datetime],
        measures: Measures,
    ) -> None:
        self._state = state
        self._config = config
        self._now = now
        self._steady_now = steady_clock(now)
        self._to_doubt_clock = timedelta(0)
        self._flow = Flow(tokens, config.rate_limit, self.wake)
        self._accounts = Accounts(create=config.create_missing_accounts)
        self._answers = Answers(self._flow, self._accounts, measures)
        self.counts = self._answers.counts  #: what became of attempts since the start, by kind
        self.adopted = self._answers.adopted  #: references that were there before us, the latest
        self._wakes = threading.Event()
        self._woken = True
        self._sender: Sender[Task] = Sender(
            config,
            redact,
            now=now,
            doubt_now=self._doubt_now,
            token=self._flow.token,
            step_seconds=self._flow.step_seconds,
            wake=self._wakes.set,
        )
        self._owner = owner_id()
        self._in_flight: set[SourceId] = set()
        self._window = 2 * config.concurrency  # how many may be claimed at once
        self._commit_uncertain = False
        self._batch_was_full = False
        self._control_read_at = 0.0
        self.allowance: int | None = None  #: how many more may be sent; None: any number
        self.last_progress = time.monotonic()  #: the last turn, for the watchdog

    def run(self, stop: threading.Event) -> None:
        """Delivers until `stop`; then records what is on its way, and gives the rest back."""
        failures = 0
        while not stop.is_set():
            try:
                self._turn()
                self._await(stop)
                failures = 0
            except StateUnavailable as error:
                failures += 1
                if failures == 1 or failures % LOG_EVERY == 0:
                    log.warning("state.unavailable", reason=str(error), failures=failures)
                stop.wait(min(STATE_BACKOFF_SECONDS, 0.1 * 2 ** min(failures, 10)))
        self._finish()

    def drain(self, stop: threading.Event, progress: Callable[[], None] = lambda: None) -> None:
        """Delivers until nothing is due, or nothing may be sent. Raises StateUnavailable."""
        try:
            while not stop.is_set():
                self._turn()
                progress()
                if self._is_at_rest():
                    break
                self._await(stop)
        finally:
            self._finish()

    def wake(self) -> None:
        """Makes the loop look at once for what is due."""
        self._woken = True
        self._wakes.set()

    def wait_for_rest(self, stop: threading.Event, seconds: float) -> None:
        """Waits until nothing is due or may be sent, or the time is over. For another thread."""
        until = time.monotonic() + seconds
        while not stop.wait(0.1) and time.monotonic() < until and not self._is_at_rest():
            pass

    @property
    def gate(self) -> Gate:
        """Whether anything may be sent now."""
        return self._flow.gate

    def stopped_by(self) -> str | None:
        """Returns why nothing may leave now; None where it may."""
        return self._flow.stopped_by()

    def token_expires(self) -> datetime | None:
        """Returns when the token at hand ends."""
        token = self._flow.token()
        return token.expires_at if token else None

    def close(self) -> None:
        """Ends the http loop."""
        self._sender.close()

    def _turn(self) -> None:
        """Settles what came back and claims what goes next, in ONE transaction."""
        self.last_progress = time.monotonic()
        woken, self._woken = self._woken, False
        has_more, self._batch_was_full = self._batch_was_full, False
        self._take_answers()
        if woken or self.last_progress - self._control_read_at >= CONTROL_POLL_SECONDS:
            self._read_control()
        now = self._now()
        self._flow.renew_token(now)
        room = self._flow.room(now, self._free_slots())
        if not (self._has_unrecorded() or (room and (has_more or self._any_due(now)))):
            return
        uncertain, self._commit_uncertain = self._commit_uncertain, True
        with self._state.begin() as tx:
            self._answers.record(tx, now)
            self._flow.save(tx)
            if uncertain:
                # A commit that failed may have claimed what was never sent.
                outbox.free_claims_of(tx, self._owner, self._in_flight, now)
            jobs = self._claim(tx, now, room)
        self._answers.recorded()
        self._flow.saved()
        if jobs:  # only after the commit
            self._submit(jobs, now)
        self._commit_uncertain = False

    def _take_answers(self) -> None:
        before, sent = self._flow.gate.state, self._sender.collect()
        for one in sent:
            was_tried = self._answers.take(one)
            if isinstance(one.task, Claimed) and not was_tried and self.allowance is not None:
                self.allowance += 1
        if self._flow.gate.state is not before and self._flow.gate.shut_until is not None:
            self._sender.take_back()  # what was claimed ahead does not leave either
        # Last, so that `wait_for_rest` never sees it nowhere.
        self._in_flight.difference_update(one.source_id for one in contracts_of(sent))
        if sent:
            self._window = window_after(len(sent), self._config.concurrency)

    def _read_control(self) -> None:
        """Reads what persons asked for, as pause and resume, and frees leases that are over."""
        self._control_read_at = self.last_progress
        was_paused = self._flow.is_paused
        with self._state.read() as tx:
            self._flow.load(tx, self._now())
            self._accounts.learn(tx)
        if self._state.file is None:  # all who share a state have the clock of its server
            self._to_doubt_clock = self._flow.to_state_time(self._now()) - self._steady_now()
        if self._flow.is_paused and not was_paused:
            self._sender.take_back()
        free_expired_leases(self._state)

    def _doubt_now(self) -> datetime:
        """Returns now by the clock of doubts, which no step of the system's moves. Any thread."""
        return self._steady_now() + self._to_doubt_clock

    def _free_slots(self) -> int:
        room = max(0, self._window - len(self._in_flight))
        return room if self.allowance is None else min(room, self.allowance)

    def _any_due(self, now: datetime) -> bool:
        with self._state.read() as tx:
            due = outbox.next_due_at(tx)
            if due is not None and (due <= now or outbox.count_due(tx, now) > 0):
                return True
        return self._accounts.wanted

    def _has_unrecorded(self) -> bool:
        return self._answers.unrecorded or self._flow.unsaved or self._commit_uncertain

    def _claim(self, tx: Connection, now: datetime, room: int) -> list[Job[Task]]:
        if room <= 0 or control.is_paused(tx):
            return []
        # A probe is a contract, whose answer says more.
        accounts = [] if self._flow.gate.is_probing else self._accounts.next(room)
        timeout = self._config.timeout
        until = self._flow.to_state_time(now) + LEASE_DEADLINES * timeout
        # Its answer must come while the lease holds, however long this transaction has waited.
        last_leave = self.last_progress + (LEASE_DEADLINES - 1) * timeout.total_seconds()
        at_random = self._flow.gate.state is ApiState.REFUSING
        most = min(room - len(accounts), GROUP)
        claimed_at = self._doubt_now()
        claimed = outbox.claim(
            tx,
            now,
            most,
            self._owner,
            until,
            claimed_at=claimed_at,
            exclude=self._in_flight | self._answers.resting.ids(claimed_at),
            at_random=at_random,
        )
        tasks: list[Task] = [*accounts, *claimed]
        return jobs_of(tasks, self._flow.schedule(tx, now, len(tasks)), last_leave)

    def _submit(self, jobs: Sequence[Job[Task]], claimed_at: datetime) -> None:
        contracts = contracts_of(jobs)
        self._batch_was_full = len(jobs) >= GROUP
        self._in_flight.update(one.source_id for one in contracts)
        self._accounts.submitted(job.task for job in jobs if isinstance(job.task, NewAccount))
        if self.allowance is not None:
            self.allowance -= len(contracts)
        self._sender.submit(jobs)
        self._flow.submitted(self._now() - claimed_at)

    def _await(self, stop: threading.Event) -> None:
        """Waits for something to do: an answer and its group, a wake, a time that comes."""
        if self._batch_was_full and len(self._in_flight) < self._window:
            return  # a claim waits for nobody: the next PUTs are at hand before these have left
        self._wakes.wait(self._pause_seconds())
        self._wakes.clear()
        until = time.monotonic() + LINGER_SECONDS
        while 0 < self._sender.done() < min(GROUP, len(self._in_flight)) and not self._woken:
            left = until - time.monotonic()
            if stop.is_set() or left <= 0 or not self._wakes.wait(left):
                break
            self._wakes.clear()

    def _pause_seconds(self) -> float:
        if self._woken or self._answers.unrecorded or self._flow.unsaved or self._sender.done():
            return 0.0
        now = self._now()
        times = [CONTROL_POLL_SECONDS]
        if (opens_in := self._flow.opens_in(now)) is not None:
            times.append(opens_in)
        if not self._in_flight:  # else an answer wakes us
            with self._state.read() as tx:
                due = outbox.next_due_at(tx)
            if due is not None and due > now:
                times.append((due - now).total_seconds())
        return min(times)

    def _is_at_rest(self) -> bool:
        if self._in_flight or self._accounts.under_way or self._has_unrecorded():
            return False
        if self._flow.stopped_by() or self.allowance == 0 or self._flow.has_no_token():
            return True
        return not self._any_due(self._now())

    def _finish(self) -> None:
        """Records what is on its way, once it is answered or timed out; gives the rest back."""
        self._sender.take_back()
        until = time.monotonic() + self._config.timeout.total_seconds() + 5
        while self._in_flight and time.monotonic() < until:
            self._wakes.wait(0.2)
            self._wakes.clear()
            self._take_answers()
        if not (self._answers.unrecorded or self._flow.unsaved):
            return
        try:
            with self._state.begin() as tx:
                self._answers.record(tx, self._now())
                self._flow.save(tx)
            self._answers.recorded()
            self._flow.saved()
        except StateUnavailable as error:
            # What was sent stays in doubt, and is sent again by the next start.
            log.error("delivery.unrecorded", reason=str(error))  # noqa: TRY400


def jobs_of(tasks: Sequence[Task], slots: Sequence[Slot], leave_before: float) -> list[Job[Task]]:
    """Returns a PUT for each task in its slot; none leaves later, by the monotonic clock."""
    return [
        Job(task, _request(task), slot.not_before, leave_before, slot.not_after)
        for task, slot in zip(tasks, slots, strict=True)
    ]


def window_after(settled: int, concurrency: int) -> int:
    """Returns how many may be claimed at once after a turn that settled so many.

    By what that was, not a constant: nothing waits long in doubt.
    """
    return min(concurrency + 2 * GROUP, 2 * concurrency + 2 * settled)


def contracts_of(jobs: Sequence[Job[Task]] | Sequence[Sent[Task]]) -> list[Claimed]:
    """Returns those of the tasks that are contracts; the others are accounts."""
    return [job.task for job in jobs if isinstance(job.task, Claimed)]


def _request(task: Task) -> Request:
    if isinstance(task, NewAccount):
        return task.request()
    return Request("contracts", body_of(task.reference, task.payload))
