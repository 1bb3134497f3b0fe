"""Which troubles people are told of, and when: once they last, and once more when they are over.

A trouble that comes and goes floods nobody: a short gap is no end, and what was told once is not
told again soon, however often it returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cdc_sync.operations.status import Trouble
from cdc_sync.rules.verdict import LONGEST, backoff
from cdc_sync.state.values import AlertKind, KnownTrouble, UnsentAlert

GAP = timedelta(minutes=1)  # away for less, a trouble has not ended
APART = 6  # times `after`: between two messages that one trouble has begun, or has grown
APART_LEAST = timedelta(seconds=10)


Memory = Mapping[str, KnownTrouble]
KEPT = timedelta(days=2)  # what nobody could be told for so long is no news
MOST = 50  # a receiver


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told: a sentence, and a line that says when."""

    kind: AlertKind
    says: str


def decide(
    troubles: Iterable[Trouble], memory: Memory, now: datetime, after: timedelta
) -> tuple[list[Message], dict[str, KnownTrouble]]:
    """What is to be told now, and what is remembered from now on."""
    messages: list[Message] = []
    kept: dict[str, KnownTrouble] = {}
    here = {trouble.key: trouble for trouble in troubles}
    for key, trouble in here.items():
        known = _seen(trouble, memory.get(key), now)
        if _is_due(known, now, after):
            messages.append(
                Message(AlertKind.TROUBLE, f"{known.says}\nSince {_clock(known.since)}.")
            )
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


def _seen(trouble: Trouble, known: KnownTrouble | None, now: datetime) -> KnownTrouble:
    if known is None or (known.news_since is None and known.degree is None):
        told_at = None if known is None else known.told_at
        return KnownTrouble(trouble.message, since=now, news_since=now, told_at=told_at)
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


def _is_due(known: KnownTrouble, now: datetime, after: timedelta) -> bool:
    return (
        known.news_since is not None
        and _passed(known.news_since, now, after)
        and _passed(known.told_at, now, _apart(after))
    )


def _over(known: KnownTrouble) -> list[Message]:
    if known.degree is None or known.away_since is None:
        return []
    lasted = f"It lasted from {_clock(known.since)} to {_clock(known.away_since)}."
    return [Message(AlertKind.OVER, f"Over: {known.says}\n{lasted}")]


def _apart(after: timedelta) -> timedelta:
    return max(APART * after, APART_LEAST)


def _passed(instant: datetime | None, now: datetime, span: timedelta) -> bool:
    # An instant to come was written by a clock that was wrong.
    return instant is None or not now - span < instant <= now


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def postponed(alert: UnsentAlert, now: datetime, chance: float) -> UnsentAlert:
    """Returns the alert after an attempt that failed: it waits, longer each time."""
    tries = alert.tries + 1
    return replace(alert, tries=tries, next_at=now + backoff(tries, chance))


def queued(
    queue: Sequence[UnsentAlert],
    messages: Iterable[Message],
    receivers: Sequence[str],
    now: datetime,
) -> list[UnsentAlert]:
    """The queue with new messages for every receiver, without what is nobody's or too old."""
    new = [
        UnsentAlert(to, message.kind, message.says, now) for message in messages for to in receivers
    ]
    fresh = [one for one in (*queue, *new) if one.to in receivers and now - one.made_at < KEPT]
    return [one for to in receivers for one in [f for f in fresh if f.to == to][-MOST:]]


def due(queue: Sequence[UnsentAlert], now: datetime) -> list[UnsentAlert]:
    """What is to be tried now: the first of each receiver, unless it waits."""
    firsts: dict[str, UnsentAlert] = {}
    for one in queue:
        firsts.setdefault(one.to, one)
    # Further away than any wait there is: our clock was set back since.
    return [
        one
        for one in firsts.values()
        if one.next_at is None or not now < one.next_at <= now + LONGEST
    ]
