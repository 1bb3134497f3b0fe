"""What an answer of CustomerGauge means, for its contract and for all that is sent after it.

status                 for the contract (rules.outcome)       for all others (rules.gate)
200 201 202 204        synced                                 go on
400 422                rejected                               stop after 20 in a row
400 422, account alone waits for its account                  go on
413 414 415            rejected                               stop after 20 in a row
401 403                goes again                             a new token; then stop
404 405, any 3xx       goes again                             stop: the address is wrong
429                    goes again                             wait, then go on more slowly
408, 409 423 425       tried again after a wait               go on
any other, no answer   tried again after a wait               single probes after 5 in a row
"""

import json
import re
from collections.abc import Mapping
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


class Meaning(StrEnum):
    """What a status stands for."""

    ACCEPTED = "accepted"
    INVALID = "invalid"  #: the body names the fields
    REFUSED = "refused"  #: too large, or of a kind that is not taken
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    MISPLACED = "misplaced"
    REDIRECTED = "redirected"
    THROTTLED = "throttled"
    TIMED_OUT = "timed out"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"


TABLE: Mapping[int, Meaning] = {
    **dict.fromkeys((200, 201, 202, 204), Meaning.ACCEPTED),
    **dict.fromkeys((400, 422), Meaning.INVALID),
    **dict.fromkeys((413, 414, 415), Meaning.REFUSED),
    401: Meaning.UNAUTHORIZED,
    403: Meaning.FORBIDDEN,
    **dict.fromkeys((404, 405), Meaning.MISPLACED),
    **dict.fromkeys(range(300, 400), Meaning.REDIRECTED),
    429: Meaning.THROTTLED,
    408: Meaning.TIMED_OUT,
    **dict.fromkeys((409, 423, 425), Meaning.CONFLICT),
}
#: What would fare the same with all that has not left yet.
STOPS_ALL = frozenset(
    {
        Meaning.UNAUTHORIZED,
        Meaning.FORBIDDEN,
        Meaning.MISPLACED,
        Meaning.REDIRECTED,
        Meaning.THROTTLED,
    }
)


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
    """Returns what a reply to the PUT of a payload means; every status has a meaning."""
    if isinstance(reply, NoAnswer):
        return Unavailable(reply.why, reply.doubt)
    meaning = meaning_of(reply)
    if meaning is Meaning.ACCEPTED:
        return Accepted(created=reply.status == 201)
    words = _quote(reply)
    match meaning:
        case Meaning.INVALID:
            return _refusal(reply, sent)
        case Meaning.REFUSED:
            return Refused((Problem("", words),))
        case Meaning.UNAUTHORIZED:
            return TokenRejected(ApiState.UNAUTHORIZED, words)
        case Meaning.FORBIDDEN:
            return TokenRejected(ApiState.FORBIDDEN, words)
        case Meaning.MISPLACED:
            return Halted(ApiState.MISCONFIGURED, f"{words}. {_ADDRESS}")
        case Meaning.REDIRECTED:
            why = f"{reply.status}, a redirect, which is never followed. {_ADDRESS}"
            return Halted(ApiState.MISCONFIGURED, why)
        case Meaning.THROTTLED:
            return Throttled(retry_after(reply.retry_after, now))
        case Meaning.TIMED_OUT:
            return TryLater(words, doubt=True)
        case Meaning.CONFLICT:
            return TryLater(words, doubt=False)
        case _:
            return Unavailable(words, doubt=reply.status >= 500)


def meaning_of(reply: Reply) -> Meaning:
    """Returns what the status of a reply stands for."""
    if isinstance(reply, NoAnswer):
        return Meaning.UNAVAILABLE
    return TABLE.get(reply.status, Meaning.UNAVAILABLE)


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """Returns what a Retry-After header asks for (RFC 9110, 10.2.3): seconds or a date, or None.

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


def _quote(answer: Answer) -> str:
    """Returns the status and CustomerGauge's own words, cut."""
    body = answer.body.decode("utf-8", "replace")
    document = json_object(answer.body)
    words = next((str(document[k]) for k in ("message", "error") if document.get(k)), body)
    return f"{answer.status} {_shown(words)}".rstrip()


def is_about_account(reply: Reply) -> bool:
    """Whether a reply refuses nothing but the account, which says nothing of other contracts."""
    return (
        isinstance(reply, Answer)
        and meaning_of(reply) is Meaning.INVALID
        and set(_errors(reply)) == {"account"}
    )


def _errors(answer: Answer) -> dict[str, object]:
    errors = json_object(answer.body).get("errors")
    return errors if isinstance(errors, dict) else {}


def _refusal(answer: Answer, sent: Payload) -> Refused | AccountMissing:
    errors = _errors(answer)
    if not errors:
        return Refused((Problem("", _quote(answer)),))
    problems = tuple(Problem(_shown(field), _words(texts)) for field, texts in errors.items())
    account = fields_of(sent).get("account")
    sound = account is not None and 0 < len(account) <= ACCOUNT_MAX
    return AccountMissing(problems) if sound and is_about_account(answer) else Refused(problems)


def _words(texts: object) -> str:
    parts = texts if isinstance(texts, list) else [texts]
    return _shown(" ".join(str(part) for part in parts))


def _shown(words: str) -> str:
    """Returns foreign words on one line, cut, without what no database keeps in a text."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", " ".join(words.split())[:BODY_SHOWN])


def json_object(body: bytes) -> dict[str, object]:
    """Returns a body as a JSON object; an empty one where it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def backoff(tries: int, jitter: float, longest: timedelta = LONGEST) -> timedelta:
    """Returns the wait before the next try, after `tries` (at least 1) that failed.

    `jitter`, in [0, 1), spreads contracts that failed together over the second half of the wait,
    which is never below 1 s.
    """
    wait = min(longest, SHORTEST * (1 << min(tries, _MAX_DOUBLINGS)))
    return wait * (0.5 + jitter / 2)
