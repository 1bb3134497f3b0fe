"""What an answer of CustomerGauge means (the table in the design of delivery)."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TypeAlias

from cdc_sync.contract import Payload, Problem, fields_of
from cdc_sync.rules.mapping import ACCOUNT_MAX

_ADDRESS = "Check `customergauge.region` or `customergauge.base_url`"
BODY_SHOWN = 500  # characters of an answer's body that are kept or logged
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # JSON can hold NUL and half a pair, as escapes


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for (RFC 9110, 10.2.3): seconds or a date; None if nothing.

    Never below 1 s and never above 15 min, whatever it says.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text[:10]), 10**6))
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        asked = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return max(SHORTEST, min(LONGEST, asked))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the body is cut at what the client reads."""

    status: int
    retry_after: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back; `doubt` where the request may have been applied all the same."""

    why: str
    doubt: bool


Reply: TypeAlias = Answer | NoAnswer


@dataclass(frozen=True, slots=True)
class Accepted:
    """CustomerGauge holds what was sent."""

    created: bool


@dataclass(frozen=True, slots=True)
class AccountMissing:
    """The only complaint is the account: it does not exist in CustomerGauge yet."""

    problems: tuple[Problem, ...]


class ApiState(StrEnum):
    """How CustomerGauge treats us."""

    OK = "ok"
    THROTTLED = "throttled"  #: 429: everybody waits
    UNREACHABLE = "unreachable"  #: no answer or 5xx, several times in a row
    UNAUTHORIZED = "unauthorized"  #: our client or its token is refused
    FORBIDDEN = "forbidden"  #: our client may not do this
    MISCONFIGURED = "misconfigured"  #: 404, 405 or a redirect: the address is wrong
    REFUSING = "refusing"  #: twenty different contracts refused, none accepted between


@dataclass(frozen=True, slots=True)
class Halted:
    """The set-up is wrong, not the contract: delivery stops, no contract is to blame."""

    state: ApiState
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """This contract is refused; sent again only when it changes or a person asks."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Throttled:
    """Everybody waits, for as long as was asked (None: a growing wait)."""

    asked: timedelta | None


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """The token is refused: a new one, once; a second time in a row delivery stops in `state`."""

    state: ApiState
    why: str


@dataclass(frozen=True, slots=True)
class TryLater:
    """This contract again later; says nothing about the others."""

    why: str
    doubt: bool


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No usable answer; after several in a row only single probes leave."""

    why: str
    doubt: bool


Verdict: TypeAlias = (
    Accepted
    | Refused
    | AccountMissing
    | TryLater
    | Throttled
    | Unavailable
    | TokenRejected
    | Halted
)
SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(minutes=15)
_MAX_DOUBLINGS = 10  # 2**10 s is past LONGEST; keeps the number small after years of tries


def judge(reply: Reply, sent: Payload, now: datetime) -> Verdict:
    """What a reply to the PUT of a payload means; every status has a meaning."""
    if isinstance(reply, NoAnswer):
        return Unavailable(reply.why, reply.doubt)
    match reply.status:
        case status if is_accepted(status):
            return Accepted(created=status == 201)
        case 401:
            return TokenRejected(ApiState.UNAUTHORIZED, _said(reply))
        case 403:
            return TokenRejected(ApiState.FORBIDDEN, _said(reply))
        case 400 | 422:
            return _refusal(reply, sent)
        case status if is_refused(status):
            return Refused((Problem("", _said(reply)),))
        case 408:
            return TryLater(_said(reply), doubt=True)
        case 409 | 423 | 425:
            return TryLater(_said(reply), doubt=False)
        case 429:
            return Throttled(retry_after(reply.retry_after, now))
        case 404 | 405:
            return Halted(ApiState.MISCONFIGURED, f"{_said(reply)}. {_ADDRESS}")
        case status if 300 <= status < 400:
            why = f"{status}, a redirect, which is never followed. {_ADDRESS}"
            return Halted(ApiState.MISCONFIGURED, why)
        case status:
            return Unavailable(_said(reply), doubt=status >= 500)


def is_accepted(status: int) -> bool:
    """Whether CustomerGauge holds what was sent."""
    return status in (200, 201, 202, 204)


def is_refused(status: int) -> bool:
    """Whether it is the contract that is not good, or its account."""
    return status in (400, 413, 414, 415, 422)


def concerns_everybody(reply: Reply) -> bool:
    """Whether what has not left yet should not leave, for it would fare the same."""
    if not isinstance(reply, Answer):
        return False
    return reply.status in (401, 403, 404, 405, 429) or 300 <= reply.status < 400


def _said(answer: Answer) -> str:
    """The status and CustomerGauge's own words, cut."""
    body = answer.body.decode("utf-8", "replace")
    document = json_object(answer.body)
    words = next((str(document[k]) for k in ("message", "error") if document.get(k)), body)
    return f"{answer.status} {_shown(words)}".rstrip()


def _refusal(answer: Answer, sent: Payload) -> Refused | AccountMissing:
    errors = json_object(answer.body).get("errors")
    if not isinstance(errors, dict) or not errors:
        return Refused((Problem("", _said(answer)),))
    problems = tuple(Problem(_shown(field), _words(texts)) for field, texts in errors.items())
    account = fields_of(sent).get("account")
    sound = account is not None and 0 < len(account) <= ACCOUNT_MAX
    return AccountMissing(problems) if sound and set(errors) == {"account"} else Refused(problems)


def _words(texts: object) -> str:
    parts = texts if isinstance(texts, list) else [texts]
    return _shown(" ".join(str(part) for part in parts))


def _shown(words: str) -> str:
    """Foreign words on one line, cut, without what no database keeps in a text."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(words.split())[:BODY_SHOWN])


def json_object(body: bytes) -> dict[str, object]:
    """A body as a JSON object; an empty one where it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def backoff(tries: int, jitter: float, longest: timedelta = LONGEST) -> timedelta:
    """The wait before the next try, after `tries` (at least 1) that failed.

    `jitter`, in [0, 1), spreads contracts that failed together over the second half of the wait,
    which is never below 1 s.
    """
    wait = min(longest, SHORTEST * (1 << min(tries, _MAX_DOUBLINGS)))
    return wait * (0.5 + jitter / 2)
