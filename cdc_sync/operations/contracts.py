"""Contracts as people look at them: lists, one contract's story, groups of stuck ones.

For an id that the state does not know, the source is asked why.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdc_sync.config.model import Config
from cdc_sync.contract import Payload, SourceId, Status, WatermarkValue, changed_fields, fields_of
from cdc_sync.errors import CdcSyncError
from cdc_sync.operations.actions import retry_ids
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.source.reader import Source
from cdc_sync.state import contracts, history, lookup, watermark
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
    shown = [_listed(row) for row in rows[:limit]]
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
    shown = [_listed(row) for row in list(found.values())[:limit]]
    return {"contracts": shown, "more": len(found) > limit}


def show_contract(state: Database, name: str) -> dict[str, Any] | None:
    """Returns `contracts show --json`, key for key, by id or reference; None for an unknown one."""
    with state.read() as tx:
        row = contracts.find(tx, name)
        if row is None:
            return None
        attempts = history.list_deliveries(tx, row["source_id"], ATTEMPTS_SHOWN)
    diff = changed_fields(row["acknowledged"], row["payload"])
    return {
        **row,
        "payload": fields_of(row["payload"]),
        "acknowledged": row["acknowledged"] and fields_of(row["acknowledged"]),
        "last_error": _problems(row["last_error"]),
        "diff": {field: list(pair) for field, pair in diff.items()},
        "history": attempts,
    }


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    account = fields_of(row["payload"]).get("account")
    told = {**row, "account": account, "last_error": _problems(row["last_error"])}
    return {name: told[name] for name in _LISTED}


def _problems(text: str | None) -> list[dict[str, str]] | None:
    return None if text is None else json.loads(text)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of the source; `value` is None where its watermark is neither a time nor a number."""

    in_scope: bool
    deleted: bool
    is_null: bool
    value: WatermarkValue | None


def explain_unknown(state: Database, source_id: str, load: Callable[[], Config]) -> str:
    """Returns why the state does not know an id, or that the source cannot be asked.

    `load` gives a configuration with the source's secrets; it may raise ConfigMistake.
    """
    start = f"The state does not know {source_id}."
    with state.read() as tx:
        known = watermark.read(tx).value
    try:
        config = load()
        found = _look(config, source_id)
    except CdcSyncError as error:
        return f"{start} Why, the source could not be asked: {error}"
    if found is None:
        return (
            f"{start} It is not in the source, either"
            " (a reference can be looked up once its row was read)."
        )
    return f"{start} {_reason(config, found, known)}"


def _look(config: Config, source_id: str) -> SourceRow | None:
    source = Source(config.source, mapped_columns(config.mapping))
    try:
        with source.scan() as scan:
            found = scan.find(source_id)
            if found is None:
                return None
            row, raw, in_scope = found
            return SourceRow(in_scope, row.gone, raw is None, scan.column.value_of(raw))
    finally:
        source.close()


def _reason(config: Config, found: SourceRow, known: WatermarkValue | None) -> str:
    source, later = config.source, next_reconcile(config.schedule.reconcile)
    written = f"{source.watermark} ({write_watermark(found.value)})"
    if not found.in_scope:
        said = f"The source has it, out of scope: `source.where` ({source.where}) leaves it out."
    elif found.deleted:
        said = f"The source has it, deleted: `source.deleted_when` ({source.deleted_when}) holds."
    elif found.is_null:
        said = (
            f"The source has it: its {source.watermark} is NULL, so no poll sees it; {later} will."
        )
    elif known is None:
        said = "The source has it, and no run has read the whole source yet."
    elif found.value is not None and _is_from(found.value, known):
        said = f"The source has it: its {written} is newer than the last poll; the next reads it."
    else:
        said = (
            f"The source has it: its {written} is before the watermark"
            f" ({write_watermark(known)}), so no poll sees it; {later} will."
        )
    return said


def next_reconcile(schedule: str) -> str:
    """Returns when everything is compared next: the hour of a daily schedule, else the schedule."""
    if schedule == "never":
        return "a reconcile (none is scheduled: cdc-sync reconcile)"
    minute, hour, *days = (*schedule.split(), "", "")[:5]
    if minute.isdecimal() and hour.isdecimal() and days == ["*", "*", "*"]:
        return f"the next reconcile ({int(hour):02}:{int(minute):02})"
    return f"the next reconcile ({schedule})"


def _is_from(value: WatermarkValue, known: WatermarkValue) -> bool:
    if isinstance(value, datetime) and isinstance(known, datetime):
        return value >= known
    return isinstance(value, int) and isinstance(known, int) and value >= known


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
    found: dict[str, StuckGroup] = {}
    for one, reason, key in _each(state, status):
        group = found.setdefault(key, StuckGroup(key, reason, one.http_status is None))
        group.count += 1
        if len(group.examples) < EXAMPLES:
            name = one.reference or one.source_id
            example = {"source_id": one.source_id, "name": name, "says": _said(one)}
            group.examples.append(example)
    return sorted(found.values(), key=lambda group: -group.count)


def retry_group(state: Database, status: Status, key: str, now: datetime) -> int:
    """Makes the contracts of one group due now and returns how many those are."""
    ids = [SourceId(one.source_id) for one, _, its_key in _each(state, status) if its_key == key]
    return retry_ids(state, ids, now) if ids else 0


def _each(state: Database, status: Status) -> Iterator[tuple[Stuck, str, str]]:
    with state.read() as tx:
        rows = list(lookup.list_stuck(tx, status, MOST))
    for one in rows:
        reason = _account(one) if status is Status.WAITING else _PARTICULAR.sub("…", _said(one))
        kind = f"{status} {one.http_status is None} {reason}"
        yield one, reason, hashlib.sha256(kind.encode()).hexdigest()[:16]


def _account(one: Stuck) -> str:
    return str(fields_of(Payload(one.payload)).get("account"))


def _said(one: Stuck) -> str:
    return format_problems(json.loads(one.last_error or "[]")) or "no reason was given"
