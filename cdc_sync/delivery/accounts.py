"""The accounts that contracts wait for: made where that is wanted, and noticed when they are there.

What waits is in the state; this is a memory of names, so that a contract that is taken can tell
those that wait for the same account.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from cdc_sync.contract import Payload, Problem, fields_of, payload_of
from cdc_sync.customergauge.client import Request
from cdc_sync.rules.verdict import Accepted, Refused, Verdict
from cdc_sync.state import outbox
from cdc_sync.wording import format_problems

log = structlog.get_logger()

REFUSED_RESTS = timedelta(minutes=5)  # an account that was refused is not asked for again before


class NewAccount(NamedTuple):
    """An account to be made by PUT /accounts, where its reference is its name."""

    name: str

    def request(self) -> Request:
        """The PUT that makes it."""
        return Request("accounts", payload_of({"reference": self.name}).encode())


class Accounts:
    """Which accounts are missing, on their way, and there at last."""

    def __init__(self, *, create: bool) -> None:
        self.creates = create  #: whether missing ones are made
        self._missing: set[str] = set()
        self._has_learned = False
        self._wanted: deque[str] = deque()
        self._under_way: set[str] = set()
        self._there: set[str] = set()
        self._refused: dict[str, tuple[Problem, ...]] = {}
        self._refused_at: dict[str, datetime] = {}

    @property
    def under_way(self) -> bool:
        """Whether the PUT of an account is on its way."""
        return bool(self._under_way)

    @property
    def wanted(self) -> bool:
        """Whether accounts are to be made."""
        return bool(self._wanted)

    @property
    def unrecorded(self) -> bool:
        """Whether there is something to record."""
        return bool(self._there or self._refused)

    def learn(self, tx: Connection) -> None:
        """The accounts that contracts of an earlier process wait for."""
        if not self._has_learned:
            self._missing |= {_account(payload) for payload in outbox.list_waiting_payloads(tx)}
            self._has_learned = True

    def is_missing(self, payload: Payload, now: datetime) -> None:
        """A contract was refused, because its account does not exist."""
        name = _account(payload)
        self._missing.add(name)
        asked = name in self._under_way or name in self._wanted or self._rests(name, now)
        if self.creates and not asked:
            self._wanted.append(name)

    def _rests(self, name: str, now: datetime) -> bool:
        """Whether it was refused just now: once an account, not once a contract."""
        at = self._refused_at.get(name)
        return at is not None and abs(now - at) < REFUSED_RESTS

    def is_taken(self, payload: Payload) -> None:
        """A contract was taken: its account is there, and others may wait for it."""
        if self._missing and (name := _account(payload)) in self._missing:
            self._there.add(name)

    def next(self, room: int) -> list[NewAccount]:
        """Accounts to be made now; `submitted` is to be called once they are on their way."""
        return [NewAccount(name) for name in islice(self._wanted, room)]

    def submitted(self, accounts: Iterable[NewAccount]) -> None:
        """Each of them comes back by `answered` or `unsent`."""
        for account in accounts:
            self._wanted.remove(account.name)
            self._under_way.add(account.name)

    def unsent(self, account: NewAccount) -> None:
        """It never left: it is made later."""
        self._under_way.discard(account.name)
        self._wanted.appendleft(account.name)

    def answered(self, account: NewAccount, verdict: Verdict, now: datetime) -> None:
        """What came of a PUT; what failed is asked for again by the contracts that wait."""
        self._under_way.discard(account.name)
        if isinstance(verdict, Accepted):
            log.info("account.created", account=account.name)
            self._refused_at.pop(account.name, None)
            self._there.add(account.name)
        elif isinstance(verdict, Refused):
            words = format_problems(verdict.problems)
            log.warning("account.refused", account=account.name, reason=words)
            self._refused_at[account.name] = now
            self._refused[account.name] = tuple(
                Problem("account", f"cannot be created: {problem.message}")
                for problem in verdict.problems
            )

    def record(self, tx: Connection, now: datetime) -> None:
        """What waits for an account that is there is due; `recorded` is to be called then."""
        self.learn(tx)
        for name in self._there:
            outbox.resume_waiting(tx, _start(name), now)
        for name, problems in self._refused.items():
            outbox.record_account_refusal(tx, _start(name), problems)

    def recorded(self) -> None:
        """The transaction of `record` was committed."""
        self._missing -= self._there
        self._there, self._refused = set(), {}


def _account(payload: Payload) -> str:
    return fields_of(payload).get("account") or ""


def _start(name: str) -> str:
    """How the payloads of an account begin: their keys are sorted, and this is the first."""
    return f"{payload_of({'account': name})[:-1]},"
