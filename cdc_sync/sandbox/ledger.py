"""What the sandbox holds, and every PUT it was sent, in the order in which they took effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any

from cdc_sync.clock import utc_now
from cdc_sync.sandbox.documented import Errors, account_errors, contract_errors, unknown_account

ENTRIES_MAX = 1_000_000  # about 1 GB; then the oldest tenth is forgotten, their numbers are not


@dataclass(frozen=True, slots=True)
class Entry:
    """One PUT as it arrived, and what became of it."""

    sequence: int  #: from 1, without gaps, in the order of effect
    at: datetime  #: the instant of its effect
    started: float  #: when it arrived, on the monotonic clock
    finished: float  #: when it took effect or was refused, on the same clock
    path: str  #: contracts or accounts
    reference: str | None
    body: Any  #: as sent; None where it was not JSON
    status: int | None  #: the answer; None where there was none
    errors: Errors
    applied: bool
    fault: str | None  #: the kind of fault that struck it


@dataclass(frozen=True, slots=True)
class Arrival:
    """One PUT that has arrived and has not taken effect."""

    path: str
    body: Any
    started: float
    fault: str | None = None


class Ledger:
    """Contracts and accounts by reference, and the log of PUTs; any thread may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._contracts: dict[str, dict[str, Any]] = {}
        self._accounts: dict[str, dict[str, Any]] = {}
        self._entries: list[Entry] = []
        self._puts = 0
        self._tokens = 0

    def put_contract(self, arrival: Arrival, *, strict_accounts: bool = False) -> Entry:
        """Apply one PUT /contracts by the documented rules."""
        body = _object(arrival.body)
        errors = contract_errors(body)
        with self._lock:
            if strict_accounts and not errors and body["account"] not in self._accounts:
                errors = unknown_account()
            return self._settle(self._contracts, arrival, body, errors)

    def put_account(self, arrival: Arrival) -> Entry:
        """Apply one PUT /accounts by the documented rules."""
        body = _object(arrival.body)
        errors = account_errors(body)
        with self._lock:
            return self._settle(self._accounts, arrival, body, errors)

    def turn_away(self, arrival: Arrival, status: int | None) -> Entry:
        """Record a PUT that was not applied: no valid token, not JSON, or a fault."""
        with self._lock:
            return self._record(arrival, status, {}, applied=False)

    def count_token(self) -> None:
        """Record that a token was issued."""
        with self._lock:
            self._tokens += 1

    def dump(self) -> dict[str, Any]:
        """Everything held: the contracts' bodies by reference, the accounts, and the counts."""
        with self._lock:
            return {
                "contracts": dict(self._contracts),
                "accounts": list(self._accounts.values()),
                "puts": self._puts,
                "tokens": self._tokens,
            }

    def entries(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The first `limit` entries, in order, whose sequence is greater than `after`."""
        with self._lock:
            oldest = self._puts - len(self._entries)
            first = max(0, after - oldest)
            return self._entries[first : first + max(0, limit)]

    def latest(self, limit: int) -> list[Entry]:
        """The last `limit` entries, newest first."""
        with self._lock:
            return self._entries[: -limit - 1 : -1]

    def _settle(
        self,
        held: dict[str, dict[str, Any]],
        arrival: Arrival,
        body: dict[str, Any],
        errors: Errors,
    ) -> Entry:
        if errors:
            return self._record(arrival, 422, errors, applied=False)
        status = 200 if body["reference"] in held else 201
        held[body["reference"]] = body
        return self._record(arrival, status, {}, applied=True)

    def _record(
        self, arrival: Arrival, status: int | None, errors: Errors, *, applied: bool
    ) -> Entry:
        self._puts += 1
        entry = Entry(
            sequence=self._puts,
            at=utc_now(),
            started=arrival.started,
            finished=monotonic(),
            path=arrival.path,
            reference=_reference(arrival.body),
            body=arrival.body,
            status=status,
            errors=errors,
            applied=applied,
            fault=arrival.fault,
        )
        self._entries.append(entry)
        if len(self._entries) > ENTRIES_MAX:
            del self._entries[: ENTRIES_MAX // 10]
        return entry


def _object(body: Any) -> dict[str, Any]:
    """Laravel sees no fields at all in a body that is not a JSON object."""
    return body if isinstance(body, dict) else {}


def _reference(body: Any) -> str | None:
    reference = body.get("reference") if isinstance(body, Mapping) else None
    return reference if isinstance(reference, str) else None
