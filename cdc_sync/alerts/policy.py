"""Which troubles people are told of, and when: once they last, and once more when they are over.

A trouble that comes and goes floods nobody: a short gap is no end, and what was told once is not
told again soon, however often it returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cdc_sync.operations.status import Trouble
from cdc_sync.rules.verdict import LONGEST, backoff

GAP = timedelta(minutes=1)  # away for less, a trouble has not ended
APART = 6  # times `after`: between two messages that one trouble has begun, or has grown
APART_LEAST = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a trouble. `degree` None: that it is there was not told."""

    says: str
    since: datetime
    news_since: datetime | None
    degree: int | str | None = None
    told_at: datetime | None = None
    away_since: datetime | None = None

    def document(self) -> dict[str, Any]:
        """As the state keeps it."""
        return {
            "says": self.says,
            "since": self.since.isoformat(),
            "news_since": self.news_since and self.news_since.isoformat(),
            "degree": self.degree,
            "told_at": self.told_at and self.told_at.isoformat(),
            "away_since": self.away_since and self.away_since.isoformat(),
        }


Memory = Mapping[str, Known]
KEPT = timedelta(days=2)  # what nobody could be told for so long is no news
MOST = 50  # a receiver


class Kind(StrEnum):
    """What a message tells; by Apprise's words, for its colours and icons."""

    TROUBLE = "warning"
    OVER = "success"


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told: a sentence, and a line that says when."""

    kind: Kind
    says: str


def known_from(document: Mapping[str, Any]) -> Known:
    """What `Known.document` has written."""
    instants = {
        name: document[name] and datetime.fromisoformat(document[name])
        for name in ("since", "news_since", "told_at", "away_since")
    }
    return Known(says=document["says"], degree=document["degree"], **instants)


def decide(
    troubles: Iterable[Trouble], memory: Memory, now: datetime, after: timedelta
) -> tuple[list[Message], dict[str, Known]]:
    """What is to be told now, and what is remembered from now on."""
    messages: list[Message] = []
    kept: dict[str, Known] = {}
    here = {trouble.key: trouble for trouble in troubles}
    for key, trouble in here.items():
        known = _seen(trouble, memory.get(key), now)
        if _is_due(known, now, after):
            messages.append(Message(Kind.TROUBLE, f"{known.says}\nSince {_clock(known.since)}."))
            known = replace(known, degree=trouble.degree, news_since=None, told_at=now)
        kept[key] = known
    for key in (key for key in memory if key not in here):
        known = replace(memory[key], away_since=memory[key].away_since or now)
        if _passed(known.away_since, now, min(GAP, after)):
            messages += _over(known)
            known = replace(known, degree=None, news_since=None)
            if _passed(known.told_at, now, _apart(after)):
                continue
        kept[key] = known
    return messages, kept


def _seen(trouble: Trouble, known: Known | None, now: datetime) -> Known:
    if known is None or (known.news_since is None and known.degree is None):
        told_at = None if known is None else known.told_at
        return Known(trouble.message, since=now, news_since=now, told_at=told_at)
    known = replace(known, says=trouble.message, away_since=None)
    if known.degree is None:
        return known
    if _is_news(trouble.degree, known.degree):
        return replace(known, news_since=known.news_since or now)
    # What has become less and grows again is news, too.
    return replace(known, degree=trouble.degree, news_since=None)


def _is_news(degree: int | str, told: int | str) -> bool:
    if isinstance(degree, int) and isinstance(told, int):
        return degree > told
    return degree != told


def _is_due(known: Known, now: datetime, after: timedelta) -> bool:
    return (
        known.news_since is not None
        and _passed(known.news_since, now, after)
        and _passed(known.told_at, now, _apart(after))
    )


def _over(known: Known) -> list[Message]:
    if known.degree is None or known.away_since is None:
        return []
    lasted = f"It lasted from {_clock(known.since)} to {_clock(known.away_since)}."
    return [Message(Kind.OVER, f"Over: {known.says}\n{lasted}")]


def _apart(after: timedelta) -> timedelta:
    return max(APART * after, APART_LEAST)


def _passed(instant: datetime | None, now: datetime, span: timedelta) -> bool:
    # An instant to come was written by a clock that was wrong.
    return instant is None or not now - span < instant <= now


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


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
