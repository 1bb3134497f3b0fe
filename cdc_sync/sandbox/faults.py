"""Faults on demand: what is to go wrong, where, how often, and which request it strikes."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random
from threading import Lock
from time import monotonic
from typing import Any

from cdc_sync.errors import UserMistake

IMPORTS = ("contracts", "accounts")
PATHS = (*IMPORTS, "token")
#: One of each that people rehearse, in the order in which the page offers them.
OFFERED = (
    "latency=500ms",
    "status=500 share=10%",
    "rate=5/s",
    "expiry times=1",
    "reset share=10%",
    "lost share=10%",
    "late=20s share=10%",
    "hang share=10%",
    "status=503",
    "status=422 share=10%",
    "status=401 path=token",
)


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"  #: this status is answered and nothing is applied
    LATENCY = "latency"  #: so many seconds pass before the request takes effect
    RATE = "rate"  #: 429 with Retry-After to whoever sends more than so many a second
    RESET = "reset"  #: the connection is reset and nothing is applied
    LOST = "lost"  #: it is applied, and a reset, or this status, comes in place of the answer
    HANG = "hang"  #: no answer for so many seconds, nothing applied, then a reset
    LATE = "late"  #: the connection is reset at once, and it is applied so many seconds later
    TRUNCATED = "truncated"  #: it is applied, and the answer's body breaks off
    GARBAGE = "garbage"  #: it is applied, and the answer's body is not JSON
    HUGE = "huge"  #: it is applied, and the answer's body is 32 MiB
    REDIRECT = "redirect"  #: 307 to the same path, nothing applied
    EXPIRY = "expiry"  #: every token issued so far ends: 401 until a new one is asked for


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; only `kind` and what its kind needs is given."""

    kind: FaultKind
    status: int | None = None
    retry_after: str | None = None  #: seconds or an HTTP date, as the header has it
    body: str | None = None  #: of a status; JSON with the reason when None
    seconds: float = 0.0  #: of latency, hang and late
    per_second: float = 0.0  #: of rate
    share: float = 1.0  #: of the requests that it strikes, by chance
    times: int | None = None  #: how often it strikes; None: until it is cleared
    path: str | None = None  #: contracts, accounts or token; None: contracts and accounts


@dataclass(frozen=True, slots=True)
class Strike:
    """What strikes one request: a delay first, then at most one other fault."""

    delay: float = 0.0
    fault: Fault | None = None


class Faults:
    """The faults in force; any thread may set them. Chance comes from a seeded generator."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 1) -> None:
        self._lock = Lock()
        self._chance = Random(seed)  # noqa: S311  # repeatable, not secret
        self._active: list[_Active] = []
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put these, and only these, in force."""
        active = [_Active(fault) for fault in faults]
        with self._lock:
            self._active = active

    def add(self, fault: Fault) -> None:
        """Put this one in force, too."""
        with self._lock:
            self._active = [*self._active, _Active(fault)]

    def listed(self) -> list[dict[str, Any]]:
        """Return every fault in force, without defaults, and how often it struck."""
        with self._lock:
            return [_document(active) for active in self._active]

    def strike(self, path: str) -> Strike:
        """Return what strikes this request: all delays, and of the other faults the first."""
        if not self._active:
            return Strike()
        delay = 0.0
        with self._lock:
            for active in self._active:
                if not self._hits(active, path):
                    continue
                active.struck += 1
                if active.fault.kind is not FaultKind.LATENCY:
                    return Strike(delay, _with_retry_after(active))
                delay += active.fault.seconds
        return Strike(delay)

    def _hits(self, active: "_Active", path: str) -> bool:
        fault = active.fault
        here = path in IMPORTS if fault.path is None else path == fault.path
        if not here or (fault.times is not None and active.struck >= fault.times):
            return False
        if fault.share < 1.0 and self._chance.random() >= fault.share:
            return False
        return fault.kind is not FaultKind.RATE or _exceeds_rate(active, monotonic())


@dataclass(slots=True)
class _Active:
    fault: Fault
    struck: int = 0
    #: Of a rate: how many requests may come now, as of when.
    allowance: float = 1.0
    counted_at: float = 0.0


def _exceeds_rate(active: _Active, now: float) -> bool:
    """Take a request from a token bucket that holds one second's worth; True where it is empty."""
    rate = active.fault.per_second
    gained = (now - active.counted_at) * rate
    active.allowance = min(max(1.0, rate), active.allowance + gained)
    active.counted_at = now
    if active.allowance < 1.0:
        return True
    active.allowance -= 1.0
    return False


def _with_retry_after(active: _Active) -> Fault:
    fault = active.fault
    if fault.kind is FaultKind.RATE and fault.retry_after is None:
        wait = (1.0 - active.allowance) / fault.per_second
        return replace(fault, retry_after=str(max(1, round(wait + 0.5))))
    return fault


def _document(active: _Active) -> dict[str, Any]:
    default = Fault(active.fault.kind)
    given = {
        name: value
        for name, value in asdict(active.fault).items()
        if name == "kind" or value != getattr(default, name)
    }
    return given | {"struck": active.struck}


EXAMPLES = "Write for example: latency=200ms, status=503 share=10% times=3, rate=20/s, reset, lost."
#: The field that the value behind the kind itself fills: `status=500`, `latency=2s`.
VALUE_FIELD = {
    FaultKind.STATUS: "status",
    FaultKind.LATENCY: "seconds",
    FaultKind.RATE: "per_second",
    FaultKind.HANG: "seconds",
    FaultKind.LATE: "seconds",
    FaultKind.LOST: "status",
    FaultKind.REDIRECT: "status",
}
VALUE_NEEDED = {FaultKind.STATUS, FaultKind.LATENCY, FaultKind.RATE, FaultKind.LATE}


def parse_fault(text: str) -> Fault:
    """Read one fault from `kind=value key=value …`, set apart by spaces or commas.

    Raises UserMistake.
    """
    words = [word.partition("=") for word in re.split(r"[,\s]+", text.strip()) if word]
    if not words:
        raise UserMistake("A fault without a kind.", hint=EXAMPLES)
    (name, _, value), *rest = words
    fields = {key: given for key, _, given in rest}
    kind = _kind(name)
    if value and kind not in VALUE_FIELD:
        raise UserMistake(f"The fault {kind} takes no value of its own.", hint=EXAMPLES)
    if value:
        fields[VALUE_FIELD[kind]] = value
    return _fault(kind, fields)


def fault_from_json(document: object) -> Fault:
    """Read one fault from JSON: such a text, or an object with the fields of Fault."""
    if isinstance(document, str):
        return parse_fault(document)
    if not isinstance(document, Mapping) or "kind" not in document:
        raise UserMistake("A fault is a text or an object with a kind.", hint=EXAMPLES)
    fields = {key: str(value) for key, value in document.items() if value is not None}
    return _fault(_kind(fields.pop("kind")), fields)


def _kind(name: str) -> FaultKind:
    try:
        return FaultKind(name)
    except ValueError:
        kinds = ", ".join(FaultKind)
        raise UserMistake(f"{name!r} is no kind of fault.", hint=f"Kinds: {kinds}.") from None


def _fault(kind: FaultKind, fields: Mapping[str, str]) -> Fault:
    if kind in VALUE_NEEDED and VALUE_FIELD[kind] not in fields:
        raise UserMistake(f"The fault {kind} needs its value.", hint=EXAMPLES)
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if name not in PARSERS:
            raise UserMistake(f"A fault has no {name!r}.", hint=f"It has {', '.join(PARSERS)}.")
        values[name] = PARSERS[name](text)
    return replace(Fault(kind), **values)


def _status(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 200 <= int(text) <= 599):
        raise UserMistake(f"{text!r} is not an answer's status.", hint="It is 200 to 599.")
    return int(text)


def _seconds(text: str) -> float:
    units = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return _quantity(text, units, "a duration", "200ms or 5s")


def _per_second(text: str) -> float:
    rate = _quantity(text, {"": 1, "/s": 1, "/m": 1 / 60, "/h": 1 / 3600}, "a rate", "20/s")
    if rate == 0:
        raise UserMistake("A rate of 0 lets nothing through.", hint="Use status=429 for that.")
    return rate


def _share(text: str) -> float:
    share = _quantity(text, {"": 1, "%": 0.01}, "a share", "10% or 0.1")
    if share > 1:
        raise UserMistake(f"{text!r} is more than all requests.", hint="Write it as 10% or 0.1.")
    return share


def _quantity(text: str, units: Mapping[str, float], what: str, example: str) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(\D*)", text)
    if found is None or found[2] not in units:
        raise UserMistake(f"{text!r} is not {what}.", hint=f"Write it as {example}.")
    # 7 * 0.01 is 0.07000000000000001, which the list of faults would show.
    return round(float(found[1]) * units[found[2]], 12)


def _times(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserMistake(f"{text!r} is not how often.", hint="Write a whole number from 1.")
    return int(text)


def _path(text: str) -> str:
    if text not in PATHS:
        raise UserMistake(f"{text!r} is no path here.", hint=f"Paths: {', '.join(PATHS)}.")
    return text


PARSERS: dict[str, Callable[[str], Any]] = {
    "status": _status,
    "retry_after": str,
    "body": str,
    "seconds": _seconds,
    "per_second": _per_second,
    "share": _share,
    "times": _times,
    "path": _path,
}
