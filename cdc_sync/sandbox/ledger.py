"""What the sandbox holds, and every PUT it was sent, in the order in which they took effect."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from threading import Lock
from time import monotonic
from typing import Any

from cdc_sync.clock import utc_now

ENTRIES_MAX = 1_000_000  # about 1 GB; then the oldest tenth is forgotten, their numbers are not
Errors = dict[str, list[str]]
REFERENCE_MAX = 128  # characters; these five: CustomerGauge's support pages
ACCOUNT_MAX = 255
DESCRIPTION_MAX = 150
NUMBER_MAX = 255
ACCOUNT_DETAIL_MAX = 128
ACCOUNT_DETAILS = ("manager", "parent", "region")
Y_M_D = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


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


def contract_errors(body: Mapping[str, Any]) -> Errors:
    """What PUT /contracts refuses in this body, by field; empty when it is taken."""
    return _collected(
        ("reference", _required_text(body, "reference", REFERENCE_MAX)),
        ("account", _required_text(body, "account", ACCOUNT_MAX)),
        ("start", _required_date(body, "start")),
        ("end", _date(body, "end")),
        ("description", _text(body, "description", DESCRIPTION_MAX)),
    )


def account_errors(body: Mapping[str, Any]) -> Errors:
    """What PUT /accounts refuses in this body, by field; empty when it is taken."""
    return _collected(
        ("reference", _required_text(body, "reference", REFERENCE_MAX)),
        ("number", _text(body, "number", NUMBER_MAX)),
        *(
            (name, _text(body, name, ACCOUNT_DETAIL_MAX))
            for name in ("manager", "parent", "region")
        ),
    )


def unknown_account() -> Errors:
    """The refusal of a contract whose account does not exist."""
    return {"account": ["The selected account is invalid."]}


def _collected(*found: tuple[str, Iterator[str]]) -> Errors:
    listed = ((field, list(texts)) for field, texts in found)
    return {field: texts for field, texts in listed if texts}


def _required_text(body: Mapping[str, Any], field: str, longest: int) -> Iterator[str]:
    if _blank(body.get(field)):
        yield f"The {field} field is required."
    else:
        yield from _text(body, field, longest)


def _text(body: Mapping[str, Any], field: str, longest: int) -> Iterator[str]:
    value = body.get(field)
    if value is None:
        return
    if not isinstance(value, str):
        yield f"The {field} must be a string."
    elif len(value) > longest:
        yield f"The {field} may not be greater than {longest} characters."


def _required_date(body: Mapping[str, Any], field: str) -> Iterator[str]:
    if _blank(body.get(field)):
        yield f"The {field} field is required."
    else:
        yield from _date(body, field)


def _date(body: Mapping[str, Any], field: str) -> Iterator[str]:
    value = body.get(field)
    if not (_blank(value) or (isinstance(value, str) and _is_y_m_d(value))):
        yield f"The {field} does not match the format Y-m-d."


def _blank(value: object) -> bool:
    """Laravel's `required` and `nullable`: null, and a text of nothing but white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def _is_y_m_d(text: str) -> bool:
    if not Y_M_D.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
