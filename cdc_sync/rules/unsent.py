"""Messages that wait to be sent: to each receiver in their order, again until they went."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cdc_sync.rules.alerting import Kind, Message
from cdc_sync.rules.backoff import LONGEST, backoff

KEPT = timedelta(days=2)  # what nobody could be told for so long is no news
MOST = 50  # a receiver


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message on its way to one receiver."""

    to: str
    message: Message
    made_at: datetime
    tries: int = 0
    next_at: datetime | None = None

    def document(self) -> dict[str, Any]:
        """As the state keeps it."""
        return {
            "to": self.to,
            "kind": self.message.kind.value,
            "says": self.message.says,
            "made_at": self.made_at.isoformat(),
            "tries": self.tries,
            "next_at": self.next_at and self.next_at.isoformat(),
        }

    def failed(self, now: datetime, chance: float) -> "Unsent":
        """After an attempt that did not go: waits, longer each time."""
        tries = self.tries + 1
        return replace(self, tries=tries, next_at=now + backoff(tries, chance))


def unsent_from(document: dict[str, Any]) -> Unsent:
    """What `Unsent.document` has written."""
    return Unsent(
        to=document["to"],
        message=Message(Kind(document["kind"]), document["says"]),
        made_at=datetime.fromisoformat(document["made_at"]),
        tries=document["tries"],
        next_at=document["next_at"] and datetime.fromisoformat(document["next_at"]),
    )


def queued(
    queue: Sequence[Unsent], messages: Iterable[Message], receivers: Sequence[str], now: datetime
) -> list[Unsent]:
    """The queue with new messages for every receiver, without what is nobody's or too old."""
    new = [Unsent(to, message, now) for message in messages for to in receivers]
    fresh = [one for one in (*queue, *new) if one.to in receivers and now - one.made_at < KEPT]
    return [one for to in receivers for one in [f for f in fresh if f.to == to][-MOST:]]


def due(queue: Sequence[Unsent], now: datetime) -> list[Unsent]:
    """What is to be tried now: the first of each receiver, unless it waits."""
    firsts: dict[str, Unsent] = {}
    for one in queue:
        firsts.setdefault(one.to, one)
    # Further away than any wait there is: our clock was set back since.
    return [
        one
        for one in firsts.values()
        if one.next_at is None or not now < one.next_at <= now + LONGEST
    ]
