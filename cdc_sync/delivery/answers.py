"""What came back: judged, told, and kept until it is recorded."""

import random
from collections import Counter

import structlog
from sqlalchemy import Connection

from cdc_sync.customergauge.sender import Sent
from cdc_sync.delivery.access import Access
from cdc_sync.rules.gate import Gate
from cdc_sync.rules.outcome import Attempt, Claimed, Kind, Settlement, settle
from cdc_sync.rules.verdict import Answer, ApiState, Refused, TokenRejected, Verdict, judge
from cdc_sync.state import control, history, outbox

log = structlog.get_logger()


class Answers:
    """Turns answers into settlements, and holds the gate that they open and shut."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._settled: list[Settlement] = []
        self._unsent: list[Claimed] = []
        self._told_gate: dict[str, str | None] = {}
        self.gate = Gate()
        self.counts: Counter[str] = Counter()

    @property
    def unrecorded(self) -> bool:
        """Whether there is something to record."""
        return bool(self._settled or self._unsent or self._told_gate != self.gate.document())

    def take(self, sent: Sent[Claimed]) -> None:
        """What an answer means for its contract, and for everybody."""
        if sent.reply is None:
            self.pass_gate(self.gate.unsent())
            self._unsent.append(sent.task)
            return
        verdict = judge(sent.reply, sent.task.payload, sent.ended)
        # A token that was replaced meanwhile says nothing about the one we have.
        if not isinstance(verdict, TokenRejected) or self._access.refused(sent.token):
            self.pass_gate(self.gate.after(verdict, sent.ended, random.random()))  # noqa: S311
        status = sent.reply.status if isinstance(sent.reply, Answer) else None
        attempt = Attempt(sent.began, sent.ended, status)
        settlement = settle(sent.task, verdict, attempt, random.random())  # noqa: S311
        self._settled.append(settlement)
        self._tell(settlement, verdict, sent.seconds)

    def pass_gate(self, gate: Gate) -> None:
        """From now on this gate; told where its state is another."""
        before, self.gate = self.gate, gate
        if gate.state is not before.state:
            event = "api.recovered" if gate.state is ApiState.OK else f"api.{gate.state}"
            level = log.info if gate.state is ApiState.OK else log.warning
            level(event, reason=gate.reason, before=before.state.value)

    def record(self, tx: Connection) -> None:
        """Writes what came back, as part of `tx`; `recorded` is to be called after its commit."""
        outbox.settle(tx, self._settled)
        outbox.release(tx, self._unsent)
        history.log_deliveries(tx, self._settled)
        kinds = Counter(s.kind.value for s in self._settled if s.kind is not None)
        control.add(tx, control.TOTALS, dict(kinds))
        if self._settled:
            last = self._settled[-1]
            told = {"at": last.at.isoformat(), "status": last.http_status}
            control.put(tx, control.LAST_DELIVERY, told)
        if self.gate.document() != self._told_gate:
            control.put(tx, control.API, self.gate.document())

    def recorded(self) -> None:
        """The transaction of `record` was committed."""
        self._told_gate = self.gate.document()
        self._settled, self._unsent = [], []

    def _tell_surprise(self, settlement: Settlement) -> None:
        """What the status of an acceptance gives away, which nobody expected."""
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
        why = "; ".join(f"{p.field}: {p.message}".removeprefix(": ") for p in settlement.problems)
        refused = isinstance(verdict, Refused)
        level = log.warning if refused else log.info
        level(
            "contract.refused" if refused else "contract.delayed",
            source_id=claimed.source_id,
            reference=claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
        )
