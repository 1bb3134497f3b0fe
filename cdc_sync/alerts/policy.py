"""Which troubles people are alerted to, and when: once they last, and once they are over.

A trouble that comes and goes floods nobody: a short gap is no end, and what was sent once is not
sent again soon, however often it returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cdc_sync.operations.status import Trouble
from cdc_sync.rules.verdict import LONGEST, backoff
from cdc_sync.state.values import AlertKind, KnownTrouble, UnsentAlert

SHORTEST_GAP = timedelta(minutes=1)  # a trouble that is away for less has not ended
APART = 6  # times `after`: between two messages that one trouble has begun, or has grown
APART_AT_LEAST = timedelta(seconds=10)
KEPT = timedelta(days=2)  # what could not be sent for so long is no news
QUEUE_LIMIT = 50  # for each receiver


@dataclass(frozen=True, slots=True)
class Message:
    """The text of an alert: a sentence, and a line that says when."""

    kind: AlertKind
    text: str


def decide(
    troubles: Iterable[Trouble],
    known_before: Mapping[str, KnownTrouble],
    now: datetime,
    after: timedelta,
) -> tuple[list[Message], dict[str, KnownTrouble]]:
    """Returns the messages to send now, and what is known of each trouble from now on."""
    messages: list[Message] = []
    known_now: dict[str, KnownTrouble] = {}
    present = {trouble.key: trouble for trouble in troubles}
    apart = max(APART * after, APART_AT_LEAST)
    for key, trouble in present.items():
        known = _update(trouble, known_before.get(key), now)
        is_news = known.news_since is not None and _passed(known.news_since, now, after)
        if is_news and _passed(known.told_at, now, apart):
            text = f"{known.says}\nSince {_format(known.since)}."
            messages.append(Message(AlertKind.TROUBLE, text))
            known = replace(known, degree=trouble.degree, news_since=None, told_at=now)
        known_now[key] = known
    for key in (key for key in known_before if key not in present):
        away_since = known_before[key].away_since or now
        known = replace(known_before[key], away_since=away_since)
        if _passed(away_since, now, min(SHORTEST_GAP, after)):
            if known.degree is not None:
                messages.append(_over(known, away_since))
            known = replace(known, degree=None, news_since=None)
            if _passed(known.told_at, now, apart):
                continue
        known_now[key] = known
    return messages, known_now


def _over(known: KnownTrouble, away_since: datetime) -> Message:
    lasted = f"It lasted from {_format(known.since)} to {_format(away_since)}."
    return Message(AlertKind.OVER, f"Over: {known.says}\n{lasted}")


def _update(trouble: Trouble, known: KnownTrouble | None, now: datetime) -> KnownTrouble:
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


def _passed(instant: datetime | None, now: datetime, span: timedelta) -> bool:
    # An instant to come was written by a clock that was wrong.
    return instant is None or not now - span < instant <= now


def _format(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def postpone(alert: UnsentAlert, now: datetime, chance: float) -> UnsentAlert:
    """Returns the alert after an attempt that failed: it waits, longer each time."""
    tries = alert.tries + 1
    return replace(alert, tries=tries, next_at=now + backoff(tries, chance))


def enqueue(
    queue: Sequence[UnsentAlert],
    messages: Iterable[Message],
    receivers: Sequence[str],
    now: datetime,
) -> list[UnsentAlert]:
    """Returns the queue with the messages for every receiver, without what is too old."""
    new = [UnsentAlert(to, one.kind, one.text, now) for one in messages for to in receivers]
    fresh = [alert for alert in (*queue, *new) if now - alert.made_at < KEPT]
    return [
        alert
        for receiver in receivers
        for alert in [one for one in fresh if one.to == receiver][-QUEUE_LIMIT:]
    ]


def due(queue: Sequence[UnsentAlert], now: datetime) -> list[UnsentAlert]:
    """Returns the alerts to try now: the first of each receiver, unless it waits."""
    firsts: dict[str, UnsentAlert] = {}
    for alert in queue:
        firsts.setdefault(alert.to, alert)
    # Further away than any wait there is: our clock was set back since.
    return [
        alert
        for alert in firsts.values()
        if alert.next_at is None or not now < alert.next_at <= now + LONGEST
    ]
