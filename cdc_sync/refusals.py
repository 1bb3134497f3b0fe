"""What is stuck, grouped by its reason: the way to mend a cause once for all its contracts."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdc_sync.contract import Payload, SourceId, Status, fields_of
from cdc_sync.operations import retry_these
from cdc_sync.state import lookup
from cdc_sync.state.database import Database
from cdc_sync.state.lookup import Stuck

MOST = 20_000  # contracts that are looked at; with more of them the groups are those of the first
EXAMPLES = 3
# What tells contracts of one reason apart: numbers, but for a limit of ours, and what is quoted.
_PARTICULAR = re.compile(r"(?<!at most )(?<!\d)\d+|'[^']*'|\"[^\"]*\"|“[^”]*”")


@dataclass(slots=True)
class Group:
    """Contracts with one reason; `by_us`: our own rules refuse them, so only the source helps."""

    key: str
    reason: str
    by_us: bool
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


def groups(state: Database, status: Status) -> list[Group]:
    """The reasons of what is rejected, or the accounts that are waited for; the greatest first."""
    found: dict[str, Group] = {}
    for one, reason, key in _each(state, status):
        group = found.setdefault(key, Group(key, reason, one.http_status is None))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            name = one.reference or one.source_id
            example = {"source_id": one.source_id, "name": name, "says": _said(one)}
            group.examples.append(example)
    return sorted(found.values(), key=lambda group: -group.count)


def retry_group(state: Database, status: Status, key: str, now: datetime) -> int:
    """Makes the contracts of one group due now; how many those were."""
    ids = [SourceId(one.source_id) for one, _, its_key in _each(state, status) if its_key == key]
    return retry_these(state, ids, now) if ids else 0


def _each(state: Database, status: Status) -> Iterator[tuple[Stuck, str, str]]:
    with state.read() as tx:
        rows = list(lookup.stuck(tx, status, MOST))
    for one in rows:
        reason = _account(one) if status is Status.WAITING else _PARTICULAR.sub("…", _said(one))
        kind = f"{status} {one.http_status is None} {reason}"
        yield one, reason, hashlib.sha256(kind.encode()).hexdigest()[:16]


def _account(one: Stuck) -> str:
    return str(fields_of(Payload(one.payload)).get("account"))


def _said(one: Stuck) -> str:
    problems = json.loads(one.last_error or "[]")
    told = (f"{p['field']}: {p['message']}" if p["field"] else p["message"] for p in problems)
    return "; ".join(told) or "no reason was given"
