"""Faults on demand: what is to go wrong, where, how often, and which request it strikes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random
from threading import Lock
from time import monotonic
from typing import Any

IMPORTS = ("contracts", "accounts")
PATHS = (*IMPORTS, "token")


class Kind(StrEnum):
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

    kind: Kind
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

    delay: float
    fault: Fault | None
    retry_after: str | None  #: what the fault tells the caller, if it does


@dataclass(slots=True)
class _Active:
    fault: Fault
    struck: int = 0
    #: Of a rate: how many requests may come now, as of when.
    allowance: float = 1.0
    counted_at: float = 0.0


class Faults:
    """The faults in force; any thread may set them. Chance comes from a seeded generator."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int = 1) -> None:
        self._lock = Lock()
        self._chance = Random(seed)  # noqa: S311  # repeatable, not secret
        self._active: list[_Active] = []
        self.replace(faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Let these, and only these, be in force from now on."""
        active = [_Active(fault) for fault in faults]
        with self._lock:
            self._active = active

    def add(self, fault: Fault) -> None:
        """Let this one be in force, too."""
        with self._lock:
            self._active = [*self._active, _Active(fault)]

    def listed(self) -> list[dict[str, Any]]:
        """Every fault in force, without what it leaves at its default, and how often it struck."""
        with self._lock:
            return [_told(active) for active in self._active]

    def strike(self, path: str) -> Strike:
        """What strikes this request; all delays add up, of the rest the first that hits wins."""
        if not self._active:
            return UNHARMED
        delay = 0.0
        with self._lock:
            for active in self._active:
                if not self._hits(active, path):
                    continue
                active.struck += 1
                if active.fault.kind is not Kind.LATENCY:
                    return Strike(delay, active.fault, _retry_after(active))
                delay += active.fault.seconds
        return Strike(delay, None, None)

    def _hits(self, active: _Active, path: str) -> bool:
        fault = active.fault
        here = path in IMPORTS if fault.path is None else path == fault.path
        if not here or (fault.times is not None and active.struck >= fault.times):
            return False
        if fault.share < 1.0 and self._chance.random() >= fault.share:
            return False
        return fault.kind is not Kind.RATE or _too_fast(active, monotonic())


UNHARMED = Strike(0.0, None, None)


def _too_fast(active: _Active, now: float) -> bool:
    """A bucket that holds one second's worth, full at first."""
    rate = active.fault.per_second
    most = max(1.0, rate)
    gained = (now - active.counted_at) * rate
    active.allowance = min(most, active.allowance + gained)
    active.counted_at = now
    if active.allowance < 1.0:
        return True
    active.allowance -= 1.0
    return False


def _retry_after(active: _Active) -> str | None:
    fault = active.fault
    if fault.kind is Kind.RATE and fault.retry_after is None:
        wait = (1.0 - active.allowance) / fault.per_second
        return str(max(1, round(wait + 0.5)))
    return fault.retry_after


def _told(active: _Active) -> dict[str, Any]:
    default = Fault(active.fault.kind)
    given = {
        name: value
        for name, value in asdict(active.fault).items()
        if name == "kind" or value != getattr(default, name)
    }
    return given | {"struck": active.struck}
