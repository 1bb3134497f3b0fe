"""Contracts as people look at them: lists, one contract's story, groups of stuck ones.

For an id that the state does not know, the source is asked why.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from cdc_sync.config.model import Config
from cdc_sync.contract import Payload, SourceId, Status, WatermarkValue, changed_fields, fields_of
from cdc_sync.errors import CdcSyncError
from cdc_sync.operations.actions import accept_ids, retry_ids
from cdc_sync.operations.watermark import is_beyond
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.source.reader import source_of
from cdc_sync.state import acceptances, contracts, history, lookup, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.lookup import Stuck
from cdc_sync.wording import format_problems

ATTEMPTS_SHOWN = 100
_LISTED = (
    "source_id",
    "reference",
    "account",
    "status",
    "attempts",
    "next_attempt_at",
    "http_status",
    "last_error",
    "changed_at",
    "acknowledged_at",
    "accepted",
)
MOST = 20_000  # contracts that are looked at; with more of them the groups are those of the first
EXAMPLES = 3
# What tells contracts of one reason apart: numbers, but for a limit of ours, and what is quoted.
_PARTICULAR = re.compile(r"(?<!at most )(?<!\d)\d+|'[^']*'|\"[^\"]*\"|“[^”]*”")


def list_contracts(
    state: Database, status: Status | None, after: str | None, limit: int
) -> dict[str, Any]:
    """Returns `contracts list --json`, key for key; `next` is the cursor of the next page."""
    with state.read() as tx:
        rows = contracts.list_page(tx, status, after, limit + 1)
        shown = _listed(tx, rows[:limit])
    return {"contracts": shown, "next": shown[-1]["source_id"] if len(rows) > limit else None}


def find_contracts(
    state: Database, text: str, limit: int, status: Status | None = None
) -> dict[str, Any]:
    """Returns the contracts of this id or reference, and those whose account begins so.

    Upper and lower case are one. With a status only those of it; `more` says that there are more.
    """
    with state.read() as tx:
        named = contracts.find(tx, text)
        rows = lookup.find_by_account(tx, text, status, limit + 1)
        if named and status in (None, named["status"]):
            rows.insert(0, named)
        found = {row["source_id"]: row for row in rows}
        shown = _listed(tx, list(found.values())[:limit])
    return {"contracts": shown, "more": len(found) > limit}


def show_contract(state: Database, name: str) -> dict[str, Any] | None:
    """Returns `contracts show --json`, key for key, by id or reference; None for an unknown one."""
    with state.read() as tx:
        row = contracts.find(tx, name)
        if row is None:
            return None
        attempts = history.list_deliveries(tx, row["source_id"], ATTEMPTS_SHOWN)
        accepted = _find_accepted(tx, [row]).get(row["source_id"])
        decisions = acceptances.list_acceptances(tx, row["source_id"])
    diff = changed_fields(row["acknowledged"], row["payload"])
    return {
        **row,
        "payload": fields_of(row["payload"]),
        "acknowledged": row["acknowledged"] and fields_of(row["acknowledged"]),
        "last_error": _problems(row["last_error"]),
        "diff": {field: list(pair) for field, pair in diff.items()},
        "history": attempts,
        "accepted": accepted,
        "acceptances": decisions,
    }


def _listed(tx: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    accepted = _find_accepted(tx, rows)
    shown = []
    for row in rows:
        whole = {
            **row,
            "account": fields_of(row["payload"]).get("account"),
            "last_error": _problems(row["last_error"]),
            "accepted": accepted.get(row["source_id"]),
        }
        shown.append({name: whole[name] for name in _LISTED})
    return shown


def _find_accepted(
    tx: Connection, rows: Iterable[dict[str, Any]]
) -> dict[SourceId, dict[str, Any]]:
    """Returns who accepted the rejection of those of these contracts that are accepted now."""
    ids = [row["source_id"] for row in rows if row["status"] == Status.ACCEPTED]
    return acceptances.find_latest(tx, ids) if ids else {}


def _problems(text: str | None) -> list[dict[str, str]] | None:
    return None if text is None else json.loads(text)


def explain_unknown(state: Database, source_id: str, load: Callable[[], Config]) -> str:
    """Returns why the state does not know an id, or that the source cannot be asked.

    `load` gives a configuration with the source's secrets; it may raise ConfigMistake.
    """
    start = f"The state does not know {source_id}."
    with state.read() as tx:
        known = watermark.read(tx).value
    try:
        return f"{start} {_explain(load(), source_id, known)}"
    except CdcSyncError as error:
        return f"{start} Why, the source could not be asked: {error}"


def _explain(config: Config, source_id: str, known: WatermarkValue | None) -> str:
    with closing(source_of(config)) as source, source.scan() as scan:
        found = scan.find(source_id)
        if found is None:
            return (
                "It is not in the source, either"
                " (a reference can be looked up once its row was read)."
            )
        row, raw, in_scope = found
        value = scan.column.value_of(raw)  # None where it is neither a time nor a number
    keys, later = config.source, _next_reconcile(config.schedule.reconcile)
    written = f"{keys.watermark} ({write_watermark(value)})"
    if not in_scope:
        return f"The source has it, out of scope: `source.where` ({keys.where}) leaves it out."
    if row.gone:
        return f"The source has it, deleted: `source.deleted_when` ({keys.deleted_when}) holds."
    if raw is None:
        return f"The source has it: its {keys.watermark} is NULL, so no poll sees it; {later} will."
    if known is None:
        return "The source has it, and no run has read the whole source yet."
    if value is not None and not is_beyond(known, value):
        return f"The source has it: its {written} is newer than the last poll; the next reads it."
    return (
        f"The source has it: its {written} is before the watermark"
        f" ({write_watermark(known)}), so no poll sees it; {later} will."
    )


def _next_reconcile(schedule: str) -> str:
    """Returns when everything is compared next: the hour of a daily schedule, else the schedule."""
    if schedule == "never":
        return "a reconcile (none is scheduled: cdc-sync reconcile)"
    minute, hour, *days = (*schedule.split(), "", "")[:5]
    if minute.isdecimal() and hour.isdecimal() and days == ["*", "*", "*"]:
        return f"the next reconcile ({int(hour):02}:{int(minute):02})"
    return f"the next reconcile ({schedule})"


@dataclass(slots=True)
class StuckGroup:
    """Contracts that are stuck for one reason; `by_us`: our own rules refuse them."""

    key: str
    reason: str
    by_us: bool
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


def group_stuck(state: Database, status: Status) -> list[StuckGroup]:
    """Groups rejected contracts by reason or waiting ones by account, the largest group first."""
    groups: dict[str, StuckGroup] = {}
    for one, message, reason, key in _with_reasons(state, status):
        group = groups.setdefault(key, StuckGroup(key, reason, one.http_status is None))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            name = one.reference or one.source_id
            group.examples.append({"source_id": one.source_id, "name": name, "says": message})
    return sorted(groups.values(), key=lambda group: -group.count)


def retry_group(state: Database, status: Status, key: str, now: datetime) -> int:
    """Makes the contracts of one group due now and returns how many those are."""
    ids = _ids_of_group(state, status, key)
    return retry_ids(state, ids, now) if ids else 0


def accept_group(state: Database, key: str, *, who: str, reason: str, now: datetime) -> int:
    """Accepts the rejections of one group and returns how many those are."""
    ids = _ids_of_group(state, Status.REJECTED, key)
    with state.begin() as tx:
        return accept_ids(tx, ids, who=who, reason=reason, now=now)


def _ids_of_group(state: Database, status: Status, key: str) -> list[SourceId]:
    return [one.source_id for one, *_, its_key in _with_reasons(state, status) if its_key == key]


def _with_reasons(state: Database, status: Status) -> Iterator[tuple[Stuck, str, str, str]]:
    """Yields each stuck contract with its message, and its group's reason and key."""
    with state.read() as tx:
        rows = list(lookup.list_stuck(tx, status, MOST))
    for one in rows:
        message = format_problems(_problems(one.last_error)) or "no reason was given"
        reason = _PARTICULAR.sub("…", message)
        if status is Status.WAITING:
            reason = str(fields_of(Payload(one.payload)).get("account"))
        kind = f"{status} {one.http_status is None} {reason}"
        yield one, message, reason, hashlib.sha256(kind.encode()).hexdigest()[:16]
