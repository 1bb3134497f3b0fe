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

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.contract import SourceId, body_of
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import GROUP, Job, Sender
from cdc_sync.customergauge.token import TokenKeeper
from cdc_sync.delivery.accounts import Accounts, NewAccount
from cdc_sync.delivery.answers import Answers, Task
from cdc_sync.delivery.flow import Access, Pacing, Turn
from cdc_sync.errors import StateUnavailable
from cdc_sync.log import Redaction
from cdc_sync.measures import Measures
from cdc_sync.rules.gate import Brake, Gate
from cdc_sync.rules.outcome import Claimed
from cdc_sync.rules.verdict import ApiState
from cdc_sync.state import control, outbox
from cdc_sync.state.database import Database
from cdc_sync.state.lease import owner_id
from cdc_sync.state.outbox import free_expired_leases
from cdc_sync.state.values import ProbeRequest

log = structlog.get_logger()
LINGER_SECONDS = 0.1  # an acknowledgement waits this long for its group
TOLD_EVERY = 20  # failures of the state in a row after which it is told again
GLANCE_SECONDS = 1.0  # how often an idle loop looks at what persons said
STATE_BACKOFF_SECONDS = 15.0
AHEAD = timedelta(seconds=1)  # no more is claimed than can leave within it
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
        self._access = Access(tokens, self.wake)
        self._accounts = Accounts(create=config.create_missing_accounts)
        self._pacing = Pacing(config.rate_limit)
        self._answers = Answers(self._access, self._accounts, self._pacing, measures)
        self.counts = self._answers.counts  #: what became of attempts since the start, by kind
        self.adopted = self._answers.adopted  #: references that were there before us, the latest
        self._wakes = threading.Event()
        self._called = True
        self._glanced_at = 0.0
        self._sender: Sender[Task] = Sender(
            config,
            redact,
            now=now,
            token=self._access.token,
            shuts=Brake().pulled_by,
            wake=self._wakes.set,
        )
        self._owner = owner_id()
        self._in_flight: set[SourceId] = set()
        self._unsure = False
        self._more = False
        self._window = 2 * config.concurrency
        self._probe_request: ProbeRequest | None = None
        self._paused = False
        self.allowance: int | None = None  #: how many more may be sent; None: any number
        self.came_round = time.monotonic()  #: the last turn, for the watchdog

    @property
    def gate(self) -> Gate:
        """Whether anything may be sent now."""
        return self._answers.gate

    def wake(self) -> None:
        """Something may be due: looks at once."""
        self._called = True
        self._wakes.set()

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
                if failures == 1 or failures % TOLD_EVERY == 0:
                    log.warning("state.unavailable", reason=str(error), failures=failures)
                stop.wait(min(STATE_BACKOFF_SECONDS, 0.1 * 2 ** min(failures, 10)))
        self._finish()

    def drain(self, stop: threading.Event, progress: Callable[[], None] = lambda: None) -> None:
        """Delivers until nothing is due, or nothing may be sent. Raises StateUnavailable."""
        try:
            while not stop.is_set():
                self._turn()
                progress()
                if self._at_rest():
                    break
                self._await(stop)
        finally:
            self._finish()

    def wait_for_rest(self, stop: threading.Event, seconds: float) -> None:
        """For another thread: until nothing is due or nothing may be sent, or the time is over."""
        until = time.monotonic() + seconds
        while not stop.wait(0.1) and time.monotonic() < until and not self._at_rest():
            pass

    def stopped_by(self) -> str | None:
        """Why nothing may leave now; None where it may."""
        if self._paused:
            return "Delivery is paused by a person: cdc-sync resume"
        if self.gate.state in (ApiState.OK, ApiState.THROTTLED):
            return None
        return f"CustomerGauge is {self.gate.state}: {self.gate.reason}"

    def token_expires(self) -> datetime | None:
        """When the token at hand ends."""
        token = self._access.token()
        return token.expires_at if token else None

    def close(self) -> None:
        """Ends the http loop."""
        self._sender.close()

    def _turn(self) -> None:
        """Settles what came back and claims what goes next, in one transaction."""
        self.came_round = time.monotonic()
        called, self._called = self._called, False
        self._more = False
        if settled := self._collect():
            self._window = window_after(settled, self._config.concurrency)
        if called or self.came_round - self._glanced_at >= GLANCE_SECONDS:
            self._glance()
        now = self._now()
        self._answers.pass_gate(self._access.renew_if_due(self.gate, now))
        may_send = self._access.token() is not None and not self._paused
        room = self.gate.room(now, self._room(now)) if may_send else 0
        if self._answers.unrecorded or self._unsure or (room and self._any_due(now)):
            self._commit_and_submit(now, room)

    def _collect(self) -> int:
        """Takes in what came back; how many that were."""
        before, sent = self.gate.state, self._sender.collect()
        for one in sent:
            was_tried = self._answers.take(one)
            is_contract = bool(contracts_of([one.task]))
            if is_contract and not was_tried and self.allowance is not None:
                self.allowance += 1
        self._sender.step_seconds = self._pacing.step_seconds
        if self.gate.state is not before and self.gate.shut_until is not None:
            self._sender.take_back()  # what was claimed ahead does not leave either
        # Last, so that `wait_for_rest` never sees it nowhere.
        settled = contracts_of([one.task for one in sent])
        self._in_flight.difference_update(one.source_id for one in settled)
        return len(sent)

    def _commit_and_submit(self, now: datetime, room: int) -> None:
        unsure, self._unsure = self._unsure, True
        with self._state.begin() as tx:
            self._answers.record(tx, now)
            if unsure:
                # A commit that failed may have claimed what was never sent.
                outbox.free_claims_of(tx, self._owner, self._in_flight)
            jobs = self._claim(tx, now, room)
        self._answers.recorded()
        self._more = len(jobs) >= GROUP
        if jobs:
            self._answers.pass_gate(self.gate.claimed())
            tasks = [job.task for job in jobs]
            self._in_flight.update(one.source_id for one in contracts_of(tasks))
            self._accounts.submitted(accounts_of(tasks))
            if self.allowance is not None:
                self.allowance -= len(contracts_of(tasks))
            self._sender.step_seconds = self._pacing.step_seconds
            self._sender.submit(jobs)
            self._pacing.submitted(self._now() - now)
        self._unsure = False

    def _claim(self, tx: Connection, now: datetime, room: int) -> list[Job[Task]]:
        if room <= 0 or control.is_paused(tx):
            return []
        # A probe is a contract, whose answer says more.
        accounts = [] if self.gate.is_probing else self._accounts.next(room)
        timeout = self._config.timeout
        until = self._pacing.their_time(now) + LEASE_DEADLINES * timeout
        # Its answer must come while the lease holds, however long this transaction has waited.
        last_leave = self.came_round + (LEASE_DEADLINES - 1) * timeout.total_seconds()
        at_random = self.gate.state is ApiState.REFUSING
        most = min(room - len(accounts), GROUP)
        claimed = outbox.claim(
            tx, now, most, self._owner, until, exclude=self._in_flight, at_random=at_random
        )
        tasks: list[Task] = [*accounts, *claimed]
        return jobs_of(tasks, self._pacing.reserve(tx, now, len(tasks)), last_leave)

    def _room(self, now: datetime) -> int:
        room = max(0, self._window - len(self._in_flight))
        within = self._pacing.room(now, AHEAD)
        room = room if within is None else min(room, within)
        return room if self.allowance is None else min(room, self.allowance)

    def _any_due(self, now: datetime) -> bool:
        with self._state.read() as tx:
            due = outbox.next_due_at(tx)
            if due is not None and (due <= now or outbox.count_due(tx, now) > 0):
                return True
        return self._accounts.wanted

    def _glance(self) -> None:
        """What persons said: pause and resume."""
        self._glanced_at = self.came_round
        with self._state.read() as tx:
            paused = control.is_paused(tx)
            probe = control.load(tx, ProbeRequest)
            self._pacing.learn(tx, self._now())
            self._accounts.learn(tx)
        self._answers.heed_pace(self._now())
        if paused and not self._paused:
            self._sender.take_back()
        if probe != self._probe_request:
            self._probe_request = probe
            self._answers.pass_gate(self._access.retried(self.gate.resumed(self._now())))
        self._paused = paused
        free_expired_leases(self._state)

    def _await(self, stop: threading.Event) -> None:
        """Until there is something to do: an answer and its group, a call, a time that comes."""
        if self._more and len(self._in_flight) < self._window:
            return  # a claim waits for nobody: the next PUTs are at hand before these have left
        self._wakes.wait(self._pause_seconds())
        self._wakes.clear()
        until = time.monotonic() + LINGER_SECONDS
        while 0 < self._sender.done() < min(GROUP, len(self._in_flight)) and not self._called:
            left = until - time.monotonic()
            if stop.is_set() or left <= 0 or not self._wakes.wait(left):
                break
            self._wakes.clear()

    def _pause_seconds(self) -> float:
        if self._called or self._answers.unrecorded or self._sender.done():
            return 0.0
        now = self._now()
        times = [GLANCE_SECONDS]
        if self.gate.shut_until is not None and self.gate.shut_until > now:
            times.append((self.gate.shut_until - now).total_seconds())
        elif (next_at := self._pacing.next_at) is not None and next_at > now + AHEAD / 2:
            times.append((next_at - now - AHEAD / 2).total_seconds())
        if not self._in_flight:  # else an answer wakes us, or the next glance does
            with self._state.read() as tx:
                due = outbox.next_due_at(tx)
            if due is not None and due > now:
                times.append((due - now).total_seconds())
        return min(times)

    def _at_rest(self) -> bool:
        under_way = self._in_flight or self._accounts.under_way
        if under_way or self._answers.unrecorded or self._unsure:
            return False
        if self.stopped_by() or self.allowance == 0 or self._access.failed():
            return True
        return not self._any_due(self._now())

    def _finish(self) -> None:
        """What is on its way is answered or timed out, and recorded; the rest is given back."""
        self._sender.take_back()
        until = time.monotonic() + self._config.timeout.total_seconds() + 5
        while self._in_flight and time.monotonic() < until:
            self._wakes.wait(0.2)
            self._wakes.clear()
            self._collect()
        if self._answers.unrecorded:
            try:
                with self._state.begin() as tx:
                    self._answers.record(tx, self._now())
                self._answers.recorded()
            except StateUnavailable as error:
                # What was sent stays in doubt, and is sent again by the next start.
                log.error("delivery.unrecorded", reason=str(error))  # noqa: TRY400


def jobs_of(tasks: Sequence[Task], turns: Sequence[Turn], leave_before: float) -> list[Job[Task]]:
    """A PUT for each task, each with its turn; none leaves after that of the monotonic clock."""
    return [
        Job(task, _request(task), turn.not_before, leave_before, turn.not_after)
        for task, turn in zip(tasks, turns, strict=True)
    ]


def window_after(settled: int, concurrency: int) -> int:
    """How many may be claimed at once after a turn that settled so many.

    By what that was, not a constant: nothing waits long in doubt.
    """
    return min(concurrency + 2 * GROUP, 2 * concurrency + 2 * settled)


def contracts_of(tasks: Sequence[Task]) -> list[Claimed]:
    """Those of the tasks that are contracts."""
    return [task for task in tasks if isinstance(task, Claimed)]


def accounts_of(tasks: Sequence[Task]) -> list[NewAccount]:
    """Those of the tasks that are accounts."""
    return [task for task in tasks if isinstance(task, NewAccount)]


def _request(task: Task) -> Request:
    if isinstance(task, NewAccount):
        return task.request()
    return Request("contracts", body_of(task.reference, task.payload))
