"""Claim, send, settle. One thread owns the outbox; settlements are committed in groups.

A claim is durable before its PUT leaves, and only an acknowledgement ends its doubt. What came
back and what goes next share one transaction.
"""

import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.contract import body_of
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import GROUP, Job, Sender, Sent
from cdc_sync.customergauge.token import Token, TokenKeeper
from cdc_sync.delivery.access import Access
from cdc_sync.errors import StateUnavailable
from cdc_sync.redaction import Redaction
from cdc_sync.rules.gate import Gate
from cdc_sync.rules.outcome import Attempt, Claimed, Settlement, settle
from cdc_sync.rules.pace import Pace
from cdc_sync.rules.verdict import Answer, ApiState, Refused, Reply, TokenRejected, Verdict, judge
from cdc_sync.state import control, history, outbox
from cdc_sync.state.database import Database

log = structlog.get_logger()

LINGER_SECONDS = 0.1  # an acknowledgement waits this long for its group
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
    ) -> None:
        self._state = state
        self._config = config
        self._now = now
        self._access = Access(tokens, self.wake)
        self._wakes = threading.Event()
        self._called = False
        self._sender: Sender[Claimed] = Sender(
            config, redact, now=now, shuts=_shuts, wake=self._wakes.set
        )
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._in_flight = 0
        self._window = 2 * config.concurrency
        self._settled: list[Settlement] = []
        self._unsent: list[Claimed] = []
        self._pace: Pace | None = None
        self._resumed_at: str | None = None
        self._paused = False
        self._told_api: dict[str, str | None] | None = None
        self.allowance: int | None = None  #: how many more may be sent; None: any number
        self.counts: Counter[str] = Counter()  #: what became of attempts since the start
        self.gate = Gate()
        self.came_round = time.monotonic()  #: the last turn, for the watchdog

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
                failures = 0
            except StateUnavailable as error:
                failures += 1
                _tell_state(error, failures)
                stop.wait(min(STATE_BACKOFF_SECONDS, 0.1 * 2**failures))
            else:
                self._await(stop)
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

    def token_expires(self) -> datetime | None:
        """When the token at hand ends."""
        token = self._access.token()
        return token.expires_at if token else None

    def free_claims(self) -> int:
        """Ends the claims that a process left behind when it died: in doubt, to be sent again."""
        with self._state.begin() as tx:
            return outbox.free_all(tx)

    def close(self) -> None:
        """Ends the http loop."""
        self._sender.close()

    def _turn(self) -> None:
        """Settles what came back and claims what goes next, in one transaction."""
        self.came_round = time.monotonic()
        self._called = False
        sent = self._sender.collect()
        self._in_flight -= len(sent)
        self._window = self._next_window(len(sent))
        for one in sent:
            self._note(one)
        self._glance()
        now = self._now()
        self.gate = self._access.renew_if_due(self.gate, now)
        token = self._access.token()
        room = 0 if token is None or self._paused else self.gate.room(now, self._room(now))
        if not self._settled and not self._unsent and not (room and self._any_due(now)):
            return
        self._commit_and_submit(now, room, token)

    def _commit_and_submit(self, now: datetime, room: int, token: Token | None) -> None:
        with self._state.begin() as tx:
            self._record(tx)
            claimed, starts = self._claim(tx, now, room)
        self._settled, self._unsent = [], []
        if claimed and token is not None:
            self.gate = self.gate.claimed()
            self._in_flight += len(claimed)
            if self.allowance is not None:
                self.allowance -= len(claimed)
            self._sender.submit(
                Job(c, Request("contracts", body_of(c.reference, c.payload)), token, start)
                for c, start in zip(claimed, starts, strict=True)
            )

    def _claim(
        self, tx: Connection, now: datetime, room: int
    ) -> tuple[list[Claimed], list[datetime]]:
        if room <= 0 or control.get(tx, control.PAUSED):
            return [], []
        until = now + LEASE_DEADLINES * self._config.timeout
        at_random = self.gate.state is ApiState.REFUSING
        claimed = outbox.claim(tx, now, min(room, GROUP), self._owner, until, at_random=at_random)
        self._pace, starts = self._known_pace(tx).reserve(now, len(claimed))
        if claimed and self._pace.per_second is not None and self._pace.next_at is not None:
            # Kept with the claim, so that a restart is no way around the limit.
            control.put(tx, control.PACE, self._pace.next_at.isoformat())
        return claimed, starts

    def _known_pace(self, tx: Connection) -> Pace:
        if self._pace is None:
            limit = self._config.rate_limit
            stored = control.get(tx, control.PACE)
            next_at = datetime.fromisoformat(stored) if stored else None
            if next_at is not None and next_at > self._now() + timedelta(minutes=1):
                next_at = None  # our clock was wrong once
            self._pace = Pace(limit.per_second if limit else None, next_at)
        return self._pace

    def _room(self, now: datetime) -> int:
        room = max(0, self._window - self._in_flight)
        within = self._pace.room(now, AHEAD) if self._pace else self._config.concurrency
        room = room if within is None else min(room, within)
        return room if self.allowance is None else min(room, self.allowance)

    def _next_window(self, settled: int) -> int:
        # By what the last turn settled, not a constant: nothing waits long in doubt.
        ahead = 2 * self._config.concurrency + 2 * settled
        return min(self._config.concurrency + 2 * GROUP, max(ahead, self._config.concurrency))

    def _note(self, sent: Sent[Claimed]) -> None:
        """What an answer means for its contract, and for everybody."""
        if sent.reply is None:
            self.gate = self.gate.unsent()
            self._unsent.append(sent.task)
            if self.allowance is not None:
                self.allowance += 1
            return
        verdict = judge(sent.reply, sent.task.payload, sent.ended)
        # A token that was replaced meanwhile says nothing about the one we have.
        if not isinstance(verdict, TokenRejected) or self._access.refused(sent.token):
            self._note_gate(self.gate.after(verdict, sent.ended, random.random()))  # noqa: S311
        status = sent.reply.status if isinstance(sent.reply, Answer) else None
        attempt = Attempt(sent.began, sent.ended, status)
        settlement = settle(sent.task, verdict, attempt, random.random())  # noqa: S311
        self._settled.append(settlement)
        self._tell(settlement, verdict, sent.seconds)

    def _note_gate(self, gate: Gate) -> None:
        before, self.gate = self.gate, gate
        if gate.state is not before.state:
            event = "api.recovered" if gate.state is ApiState.OK else f"api.{gate.state}"
            level = log.info if gate.state is ApiState.OK else log.warning
            level(event, reason=gate.reason, before=before.state.value)

    def _tell(self, settlement: Settlement, verdict: Verdict, seconds: float) -> None:
        claimed = settlement.claimed
        if settlement.kind is not None:
            self.counts[settlement.kind.value] += 1
        if settlement.acknowledged:
            return
        why = "; ".join(f"{p.field}: {p.message}".removeprefix(": ") for p in settlement.problems)
        level = log.warning if isinstance(verdict, Refused) else log.info
        level(
            f"contract.{'refused' if isinstance(verdict, Refused) else 'delayed'}",
            source_id=claimed.source_id,
            reference=claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
        )

    def _record(self, tx: Connection) -> None:
        outbox.settle(tx, self._settled)
        outbox.release(tx, self._unsent)
        history.log_deliveries(tx, self._settled)
        kinds = Counter(s.kind.value for s in self._settled if s.kind is not None)
        control.add(tx, control.TOTALS, dict(kinds))
        if self._settled:
            last = self._settled[-1]
            told = {"at": last.at.isoformat(), "status": last.http_status}
            control.put(tx, control.LAST_DELIVERY, told)
        self._record_api(tx)

    def _record_api(self, tx: Connection) -> None:
        api = self.gate.document()
        if api != self._told_api:
            control.put(tx, control.API, api)
            self._told_api = api

    def _any_due(self, now: datetime) -> bool:
        with self._state.read() as tx:
            due = outbox.next_due_at(tx)
            return due is not None and (due <= now or outbox.count_due(tx, now) > 0)

    def _glance(self) -> None:
        """What persons said: pause and resume."""
        with self._state.read() as tx:
            paused = bool(control.get(tx, control.PAUSED, False))
            resumed_at = control.get(tx, control.RESUMED_AT)
            if self._pace is None:
                self._known_pace(tx)
        if paused and not self._paused:
            self._sender.take_back()
        if resumed_at != self._resumed_at:
            self._resumed_at = resumed_at
            self.gate = self._access.retried(self.gate.resumed(self._now()))
        self._paused = paused

    def _await(self, stop: threading.Event) -> None:
        """Until there is something to do: an answer and its group, a call, a time that comes."""
        self._wakes.wait(self._pause_seconds())
        self._wakes.clear()
        until = time.monotonic() + LINGER_SECONDS
        while 0 < self._sender.done() < min(GROUP, self._in_flight) and not self._called:
            left = until - time.monotonic()
            if stop.is_set() or left <= 0 or not self._wakes.wait(left):
                break
            self._wakes.clear()

    def _pause_seconds(self) -> float:
        if self._called or self._unsent or self._settled:
            return 0.0
        now = self._now()
        times = [GLANCE_SECONDS]
        if self.gate.shut_until is not None and self.gate.shut_until > now:
            times.append((self.gate.shut_until - now).total_seconds())
        elif self._pace is not None and self._pace.per_second and self._pace.next_at is not None:
            times.append(max(0.05, (self._pace.next_at - now - AHEAD / 2).total_seconds()))
        with self._state.read() as tx:
            due = outbox.next_due_at(tx)
        if due is not None and due > now:
            times.append((due - now).total_seconds())
        return min(times)

    def _at_rest(self) -> bool:
        if self._in_flight or self._settled or self._unsent:
            return False
        if self._paused or self.allowance == 0 or self._access.failed():
            return True
        if self.gate.state not in (ApiState.OK, ApiState.THROTTLED):
            return True
        return not self._any_due(self._now())

    def _finish(self) -> None:
        """What is on its way is answered or timed out, and recorded; the rest is given back."""
        self._sender.take_back()
        until = time.monotonic() + self._config.timeout.total_seconds() + 5
        while self._in_flight and time.monotonic() < until:
            self._wakes.wait(0.2)
            self._wakes.clear()
            sent = self._sender.collect()
            self._in_flight -= len(sent)
            for one in sent:
                self._note(one)
        if self._settled or self._unsent:
            try:
                with self._state.begin() as tx:
                    self._record(tx)
                self._settled, self._unsent = [], []
            except StateUnavailable as error:
                log.error("delivery.unrecorded", contracts=len(self._settled), reason=str(error))  # noqa: TRY400


def _shuts(reply: Reply) -> bool:
    """Whether an answer concerns everybody, so that what has not left yet should not leave."""
    if not isinstance(reply, Answer):
        return False
    return reply.status in (401, 403, 404, 405, 429) or 300 <= reply.status < 400


def _tell_state(error: StateUnavailable, failures: int) -> None:
    if failures == 1 or failures % 20 == 0:
        log.error("state.unavailable", reason=str(error), failures=failures)
