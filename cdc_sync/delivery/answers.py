"""What came back: judged, told, and kept until it is recorded."""

import random
from collections import Counter, deque
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog
from sqlalchemy import Connection

from cdc_sync.contract import Reference, payload_of
from cdc_sync.customergauge.sender import Sent
from cdc_sync.delivery.accounts import Accounts, NewAccount
from cdc_sync.delivery.flow import Access, Pacing
from cdc_sync.measures import Measures
from cdc_sync.rules.gate import ApiStatus, Gate
from cdc_sync.rules.outcome import Attempt, Claimed, Kind, Settlement, settle
from cdc_sync.rules.verdict import (
    Accepted,
    AccountMissing,
    Answer,
    ApiState,
    Refused,
    Reply,
    Throttled,
    TokenRejected,
    TryLater,
    Verdict,
    judge,
)
from cdc_sync.state import control, history, outbox
from cdc_sync.state.values import DeliveryReport
from cdc_sync.wording import format_problems

log = structlog.get_logger()
Task: TypeAlias = Claimed | NewAccount
NOTHING = payload_of({})
MOST_NAMED = 100  # adopted references that are remembered, to be named
TOLD_EVERY = timedelta(minutes=1)
MOST_REASONS = 100  # kept apart; of more than that, each is told at debug alone


class Answers:
    """Turns answers into settlements, and holds the gate that they open and shut."""

    def __init__(
        self, access: Access, accounts: Accounts, pacing: Pacing, measures: Measures
    ) -> None:
        self._access = access
        self._accounts = accounts
        self._pacing = pacing
        self._measures = measures
        self._settled: list[Settlement] = []
        self._unsent: list[Claimed] = []
        self._delays = Delays()
        self._surprising: set[int | None] = set()  # statuses of success that were told, once each
        self._told_status: ApiStatus | None = None
        self.gate = Gate()
        self.counts: Counter[str] = Counter()
        self.adopted: deque[Reference] = deque(maxlen=MOST_NAMED)

    @property
    def unrecorded(self) -> bool:
        """Whether there is something to record."""
        told = self._told_status == self.gate.status()
        return bool(self._settled or self._unsent or self._accounts.unrecorded or not told)

    def take(self, sent: Sent[Task]) -> bool:
        """What an answer means for its contract or account, and for everybody.

        False where that was no try: it never left, or its account is made first.
        """
        task = sent.task
        if sent.reply is None:
            self.pass_gate(self.gate.unsent())
            self._pacing.given_back(sent.began)
            if isinstance(task, NewAccount):
                self._accounts.unsent(task)
            else:
                self._unsent.append(task)
            return False
        payload = NOTHING if isinstance(task, NewAccount) else task.payload
        verdict = judge(sent.reply, payload, sent.ended)
        self._heed(sent, verdict)
        if isinstance(task, NewAccount):
            self._accounts.answered(task, verdict, sent.ended)
        else:
            self._settle(task, sent, sent.reply, verdict)
        return not (isinstance(verdict, AccountMissing) and self._accounts.creates)

    def _heed(self, sent: Sent[Task], verdict: Verdict) -> None:
        """What concerns everybody."""
        # A token that was replaced meanwhile says nothing about the one we have.
        if isinstance(verdict, TokenRejected) and not self._access.refused(sent.token):
            return
        if isinstance(verdict, AccountMissing) and self._accounts.creates:
            verdict = TryLater("its account is made first", doubt=False)
        is_new = isinstance(verdict, Throttled) and not self.gate.everybody_waits(sent.ended)
        task = sent.task
        who = f"account {task.name}" if isinstance(task, NewAccount) else task.source_id
        self.pass_gate(self.gate.after(verdict, sent.ended, random.random(), who))  # noqa: S311
        if is_new and self.gate.shut_until is not None:
            self._pacing.throttled(sent.ended, self.gate.shut_until - sent.ended)
        elif isinstance(sent.reply, Answer) and not isinstance(verdict, Throttled):
            self._pacing.answered()

    def _settle(self, claimed: Claimed, sent: Sent[Task], reply: Reply, verdict: Verdict) -> None:
        if isinstance(verdict, AccountMissing):
            self._accounts.is_missing(claimed.payload, sent.ended)
        elif isinstance(verdict, Accepted):
            self._accounts.is_taken(claimed.payload)
        status = reply.status if isinstance(reply, Answer) else None
        attempt = Attempt(sent.began, sent.ended, status)
        settlement = settle(claimed, verdict, attempt, random.random())  # noqa: S311
        self._settled.append(settlement)
        self._measures.record_put(sent.ended, status, sent.seconds, settlement.arrival)
        self._tell(settlement, verdict, sent.seconds)

    def heed_pace(self, now: datetime) -> None:
        """Everybody waits for a 429, also one of a process before us or of another beside us."""
        wait = self._pacing.waits(now)
        if wait is not None and self.gate.state is ApiState.OK:
            self.pass_gate(self.gate.stopped(ApiState.THROTTLED, "429", now, wait))

    def pass_gate(self, gate: Gate) -> None:
        """From now on this gate; told where its state is another."""
        before, self.gate = self.gate, gate
        if gate.state is not before.state:
            event = "api.recovered" if gate.state is ApiState.OK else f"api.{gate.state}"
            level = log.info if gate.state is ApiState.OK else log.warning
            level(event, reason=gate.reason, before=before.state.value)

    def record(self, tx: Connection, now: datetime) -> None:
        """Writes what came back, as part of `tx`; `recorded` is to be called after its commit."""
        outbox.settle(tx, self._settled)
        outbox.release(tx, self._unsent)
        self._accounts.record(tx, now)
        history.log_deliveries(tx, self._settled)
        kinds = Counter(s.kind.value for s in self._settled if s.kind is not None)
        control.add_to_totals(tx, kinds)
        if self._settled:
            last = self._settled[-1]
            control.save(tx, DeliveryReport(last.at, last.http_status))
        if self.gate.status() != self._told_status:
            control.save(tx, self.gate.status())
        self._pacing.tell(tx)  # last: a claim, too, comes to the pace after all this

    def recorded(self) -> None:
        """The transaction of `record` was committed."""
        self._told_status = self.gate.status()
        self._settled, self._unsent = [], []
        self._accounts.recorded()

    def _tell_surprise(self, settlement: Settlement) -> None:
        """What the status of an acceptance gives away, which nobody expected."""
        if settlement.http_status not in (200, 201, *self._surprising):
            self._surprising.add(settlement.http_status)
            log.info("api.other_success", status=settlement.http_status)
        if settlement.kind is Kind.ADOPTED:
            self.adopted.append(settlement.claimed.reference)
        if settlement.kind in (Kind.RECREATED, Kind.ADOPTED):
            event = f"contract.{settlement.kind}"
            log.warning(
                event,
                source_id=settlement.claimed.source_id,
                reference=settlement.claimed.reference,
                status=settlement.http_status,
            )

    def _tell(self, settlement: Settlement, verdict: Verdict, seconds: float) -> None:
        claimed = settlement.claimed
        if settlement.kind is not None:
            self.counts[settlement.kind.value] += 1
        if settlement.acknowledged:
            self._tell_surprise(settlement)
            return
        why = format_problems(settlement.problems)
        if not isinstance(verdict, Refused):
            self._delays.tell(settlement, why, seconds)
            return
        log.warning(
            "contract.refused",
            source_id=claimed.source_id,
            reference=claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
        )


class Delays:
    """Keeps how often each reason came since it was last told."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[datetime, int]] = {}

    def tell(self, settlement: Settlement, why: str, seconds: float) -> None:
        """One line a contract at debug; at info the first of a reason, with the others' number."""
        others = self._others(why, settlement.at)
        level = log.debug if others is None else log.info
        level(
            "contract.delayed",
            source_id=settlement.claimed.source_id,
            reference=settlement.claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
            **({"others": others} if others else {}),
        )

    def _others(self, why: str, now: datetime) -> int | None:
        """How many came untold since it was last told; None where it is not to be told now."""
        at, others = self._told.get(why, (None, 0))
        # Further away than that: our clock was set back since.
        if at is not None and abs(now - at) < TOLD_EVERY:
            self._told[why] = (at, others + 1)
            return None
        self._told = {w: t for w, t in self._told.items() if abs(now - t[0]) < 2 * TOLD_EVERY}
        if len(self._told) >= MOST_REASONS:
            return None
        self._told[why] = (now, 0)
        return others
