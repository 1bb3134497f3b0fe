"""What the sandbox holds, and every PUT it was sent, in the order in which they took effect."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from threading import Lock
from time import monotonic
from typing import Any

from cdc_sync.clock import utc_now

ENTRIES_MAX = 1_000_000  # about 1 GB; then the oldest tenth is forgotten, their numbers are not
Errors = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One PUT that has arrived and has not taken effect."""

    path: str  #: contracts or accounts
    body: Any  #: as sent; None where it was not JSON
    started: float  #: when it arrived, on the monotonic clock
    fault: str | None = None  #: the kind of fault that struck it


@dataclass(frozen=True, slots=True)
class Entry:
    """One PUT as it arrived, and what became of it."""

    sequence: int  #: from 1, without gaps, in the order of effect
    at: datetime  #: the instant of its effect
    started: float
    finished: float  #: when it took effect or was refused, on the monotonic clock
    path: str
    reference: str | None
    body: Any
    status: int | None  #: the answer; None where there was none
    errors: Errors
    applied: bool
    fault: str | None


class Ledger:
    """Contracts and accounts by reference, and the log of PUTs; any thread may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.held: dict[str, dict[str, dict[str, Any]]] = {"contracts": {}, "accounts": {}}
        self._entries: list[Entry] = []
        self._puts = 0
        self._tokens = 0

    def put(self, arrival: Arrival, *, strict_accounts: bool = False) -> Entry:
        """Apply a PUT, or refuse it with its errors, by the documented rules.

        With `strict_accounts` a contract's account must have been PUT before.
        """
        # Laravel sees no fields at all in a body that is not a JSON object.
        body = arrival.body if isinstance(arrival.body, dict) else {}
        errors = validation_errors(body, RULES[arrival.path])
        with self._lock:
            if strict_accounts and arrival.path == "contracts" and not errors:
                errors = self._account_errors(body["account"])
            if errors:
                return self._record(arrival, 422, errors, applied=False)
            held = self.held[arrival.path]
            status = 200 if body["reference"] in held else 201
            held[body["reference"]] = body
            return self._record(arrival, status, {}, applied=True)

    def reject(self, arrival: Arrival, status: int | None) -> Entry:
        """Record a PUT that was not applied: no valid token, not JSON, or a fault."""
        with self._lock:
            return self._record(arrival, status, {}, applied=False)

    def count_token(self) -> None:
        """Record that a token was issued."""
        with self._lock:
            self._tokens += 1

    def dump(self) -> dict[str, Any]:
        """Return all that is held: contracts by reference, the accounts, and the counts."""
        with self._lock:
            return {
                "contracts": dict(self.held["contracts"]),
                "accounts": list(self.held["accounts"].values()),
                "puts": self._puts,
                "tokens": self._tokens,
            }

    def entries(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """Return the first `limit` entries, in order, whose sequence is greater than `after`."""
        with self._lock:
            oldest = self._puts - len(self._entries)
            first = max(0, after - oldest)
            return self._entries[first : first + max(0, limit)]

    def latest(self, limit: int) -> list[Entry]:
        """Return the last `limit` entries, newest first."""
        with self._lock:
            return self._entries[: -limit - 1 : -1]

    def _account_errors(self, account: str) -> Errors:
        if account in self.held["accounts"]:
            return {}
        return {"account": ["The selected account is invalid."]}

    def _record(
        self, arrival: Arrival, status: int | None, errors: Errors, *, applied: bool
    ) -> Entry:
        self._puts += 1
        reference = arrival.body.get("reference") if isinstance(arrival.body, dict) else None
        entry = Entry(
            sequence=self._puts,
            at=utc_now(),
            started=arrival.started,
            finished=monotonic(),
            path=arrival.path,
            reference=reference if isinstance(reference, str) else None,
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


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field must be: a text of at most `longest` characters, or without it a date."""

    longest: int | None = None
    is_required: bool = False

    def error(self, field: str, value: object) -> str | None:
        """Say in Laravel's words what is wrong with a value; None: nothing."""
        # `required` and a nullable date take a text of white space for no value at all.
        is_blank = value is None or (isinstance(value, str) and not value.strip())
        if self.is_required and is_blank:
            return f"The {field} field is required."
        if self.longest is None:
            is_valid = is_blank or (isinstance(value, str) and _is_y_m_d(value))
            return None if is_valid else f"The {field} does not match the format Y-m-d."
        if value is not None and not isinstance(value, str):
            return f"The {field} must be a string."
        if value is not None and len(value) > self.longest:
            return f"The {field} may not be greater than {self.longest} characters."
        return None


# The lengths are those of CustomerGauge's support pages.
RULES = {
    "contracts": {
        "reference": Rule(128, is_required=True),
        "account": Rule(255, is_required=True),
        "start": Rule(is_required=True),
        "end": Rule(),
        "description": Rule(150),
    },
    "accounts": {
        "reference": Rule(128, is_required=True),
        "number": Rule(255),
        "manager": Rule(128),
        "parent": Rule(128),
        "region": Rule(128),
    },
}


def validation_errors(body: Mapping[str, Any], rules: Mapping[str, Rule]) -> Errors:
    """Return what is wrong with a body, by field; empty where it is valid."""
    found = {field: rule.error(field, body.get(field)) for field, rule in rules.items()}
    return {field: [error] for field, error in found.items() if error is not None}


def _is_y_m_d(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
