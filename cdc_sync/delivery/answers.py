"""What came back: each answer is judged, logged, and kept until it is recorded."""

import random
from collections import Counter, deque
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog
from sqlalchemy import Connection

from cdc_sync.contract import Reference, SourceId, payload_of
from cdc_sync.customergauge.sender import Sent
from cdc_sync.delivery.accounts import Accounts, NewAccount
from cdc_sync.delivery.flow import Flow
from cdc_sync.measures import Measures
from cdc_sync.rules.outcome import Attempt, Claimed, OutcomeKind, Settlement, settle
from cdc_sync.rules.verdict import (
    SHORTEST,
    Accepted,
    AccountMissing,
    Answer,
    Refused,
    Reply,
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
ADOPTED_KEPT = 100  # adopted references that are remembered, to be named
LOG_AGAIN_AFTER = timedelta(minutes=1)
REASONS_KEPT = 100  # counted apart; of more than that, each is logged at debug alone


class Answers:
    """Turns answers into settlements for contracts, and into changes of the flow."""

    def __init__(self, flow: Flow, accounts: Accounts, measures: Measures) -> None:
        self._flow = flow
        self._accounts = accounts
        self._measures = measures
        self._settled: list[Settlement] = []
        self._unsent: list[Claimed] = []
        self.resting = Resting()
        self._delays = Delays()
        self._logged_statuses: set[int | None] = set()  # unusual ones of success, once each
        self.counts: Counter[str] = Counter()
        self.adopted: deque[Reference] = deque(maxlen=ADOPTED_KEPT)

    @property
    def unrecorded(self) -> bool:
        """Whether there is something to record."""
        return bool(self._settled or self._unsent or self._accounts.unrecorded)

    def take(self, sent: Sent[Task]) -> bool:
        """Judges an answer for its contract or account, and for all that is sent after it.

        False where that was no attempt: it never left, or its account is made first.
        """
        task = sent.task
        if sent.reply is None:
            self._flow.unsent(sent.began)
            if isinstance(task, NewAccount):
                self._accounts.unsent(task)
            else:
                self._unsent.append(task)
            return False
        payload = NOTHING if isinstance(task, NewAccount) else task.payload
        verdict = judge(sent.reply, payload, sent.ended)
        is_account_first = isinstance(verdict, AccountMissing) and self._accounts.creates
        first = TryLater("its account is made first", doubt=False)
        who = f"account {task.name}" if isinstance(task, NewAccount) else task.source_id
        self._flow.apply(first if is_account_first else verdict, sent, who)
        if isinstance(task, NewAccount):
            self._accounts.answered(task, verdict, sent.ended)
        else:
            self._settle(task, sent, sent.reply, verdict)
        return not is_account_first

    def _settle(self, claimed: Claimed, sent: Sent[Task], reply: Reply, verdict: Verdict) -> None:
        if isinstance(verdict, AccountMissing):
            self._accounts.is_missing(claimed.payload, sent.ended)
        elif isinstance(verdict, Accepted):
            self._accounts.is_taken(claimed.payload)
        status = reply.status if isinstance(reply, Answer) else None
        began = sent.doubted_at - timedelta(seconds=sent.seconds)
        attempt = Attempt(began, sent.doubted_at, status, sent.ended)
        settlement = settle(claimed, verdict, attempt, random.random())  # noqa: S311
        self._settled.append(settlement)
        self.resting.add(settlement)
        self._measures.record_put(sent.ended, status, sent.seconds, settlement.arrival)
        self._log(settlement, verdict, sent.seconds)

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

    def recorded(self) -> None:
        """Notes that the transaction of `record` was committed."""
        self._settled, self._unsent = [], []
        self._accounts.recorded()

    def _log_unusual(self, settlement: Settlement) -> None:
        """Logs what an acceptance says beside that: another status, a reference known or lost."""
        if settlement.http_status not in (200, 201, *self._logged_statuses):
            self._logged_statuses.add(settlement.http_status)
            log.info("api.other_success", status=settlement.http_status)
        if settlement.kind is OutcomeKind.ADOPTED:
            self.adopted.append(settlement.claimed.reference)
        if settlement.kind in (OutcomeKind.RECREATED, OutcomeKind.ADOPTED):
            event = f"contract.{settlement.kind}"
            log.warning(
                event,
                source_id=settlement.claimed.source_id,
                reference=settlement.claimed.reference,
                status=settlement.http_status,
            )

    def _log(self, settlement: Settlement, verdict: Verdict, seconds: float) -> None:
        if settlement.kind is not None:
            self.counts[settlement.kind.value] += 1
        if settlement.acknowledged:
            self._log_unusual(settlement)
            return
        reason = format_problems(settlement.problems)
        fields = {
            "source_id": settlement.claimed.source_id,
            "reference": settlement.claimed.reference,
            "status": settlement.http_status,
            "reason": reason,
            "seconds": round(seconds, 3),
        }
        if isinstance(verdict, Refused):
            log.warning("contract.refused", **fields)
            return
        others = self._delays.count_unlogged(reason, settlement.at)
        if others is None:
            log.debug("contract.delayed", **fields)
        else:
            log.info("contract.delayed", **fields, **({"others": others} if others else {}))


class Resting:
    """The contracts that were just answered and are to wait: none goes within SHORTEST again.

    Their waits are stored as instants, which a system's clock that is set brings near, and that
    of another daemon. By the clock of doubts, which goes on evenly.
    """

    def __init__(self) -> None:
        self._since: dict[SourceId, datetime] = {}

    def add(self, settlement: Settlement) -> None:
        """Adds a contract that is to be tried again after a wait."""
        due = settlement.next_attempt_at
        if due is not None and due > settlement.at:
            self._since[settlement.claimed.source_id] = settlement.doubted_at

    def ids(self, now: datetime) -> set[SourceId]:
        """Returns those that may not go now."""
        self._since = {
            name: since for name, since in self._since.items() if abs(now - since) < SHORTEST
        }
        return set(self._since)


class Delays:
    """Counts delays by their reason, so that each is logged once a minute and not per contract."""

    def __init__(self) -> None:
        self._logged: dict[str, tuple[datetime, int]] = {}

    def count_unlogged(self, reason: str, now: datetime) -> int | None:
        """Returns how many came since this reason was last logged; None if it was just now."""
        at, others = self._logged.get(reason, (None, 0))
        # Further away than that: our clock was set back since.
        if at is not None and abs(now - at) < LOG_AGAIN_AFTER:
            self._logged[reason] = (at, others + 1)
            return None
        self._logged = {
            known: entry
            for known, entry in self._logged.items()
            if abs(now - entry[0]) < 2 * LOG_AGAIN_AFTER
        }
        if len(self._logged) >= REASONS_KEPT:
            return None
        self._logged[reason] = (now, 0)
        return others
