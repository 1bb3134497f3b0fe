"""Contracts as the commands tell of them: lists, one contract's whole story, and why one is unknown."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cdc_sync.config.model import Config
from cdc_sync.contract import Status, changed_fields, fields_of
from cdc_sync.errors import CdcSyncError
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.source.reader import Source
from cdc_sync.state import contracts, history, watermark
from cdc_sync.state.database import Database

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


def list_contracts(
    state: Database, status: Status | None, after: str | None, limit: int
) -> dict[str, Any]:
    """`contracts list --json`, key for key; `next` is the cursor to go on from."""
    with state.read() as tx:
        rows = contracts.listing(tx, status, after, limit + 1)
    shown = [_listed(row) for row in rows[:limit]]
    return {"contracts": shown, "next": shown[-1]["source_id"] if len(rows) > limit else None}


def story_of(state: Database, name: str) -> dict[str, Any] | None:
    """`contracts show --json`, key for key, by id or reference; None for one that is not known."""
    with state.read() as tx:
        row = contracts.find(tx, name)
        if row is None:
            return None
        attempts = history.deliveries(tx, row["source_id"], ATTEMPTS_SHOWN)
    diff = changed_fields(row["acknowledged"], row["payload"])
    return {
        **row,
        "payload": fields_of(row["payload"]),
        "acknowledged": row["acknowledged"] and fields_of(row["acknowledged"]),
        "last_error": _problems(row["last_error"]),
        "diff": {field: list(pair) for field, pair in diff.items()},
        "history": attempts,
    }


def why_unknown(state: Database, source_id: str, load: Callable[[], Config]) -> str:
    """Why the state does not know a contract, as far as the source tells; a source that cannot
    be asked is part of the answer, too. `load` gives a configuration with the source's secrets.
    """
    start = f"The state does not know {source_id}."
    try:
        return f"{start} {_as_the_source_has_it(state, source_id, load())}"
    except CdcSyncError as error:
        return f"{start} Why, the source could not be asked: {error}"


def _as_the_source_has_it(state: Database, source_id: str, config: Config) -> str:
    column, reconcile = config.source.watermark, _next_reconcile(config.schedule.reconcile)
    with state.read() as tx:
        known = watermark.read(tx)
    source = Source(config.source, mapped_columns(config.mapping))
    try:
        with source.scan() as scan:
            found = scan.find(source_id)
            value = None if found is None else scan.column.value_of(found[1])
    finally:
        source.close()
    if found is None:
        return "Nor is it in the source. (A reference is found only once its row has been read.)"
    row, _, in_scope = found
    if not in_scope:
        return f"The source has it, but out of scope: `source.where` ({config.source.where}) does not hold for it."
    if row.gone:
        return f"The source has it, but as deleted: `source.deleted_when` ({config.source.deleted_when}) holds for it."
    if value is None:
        return f"The source has it: its {column} is NULL, so no poll sees it; {reconcile} will."
    if known.value is None or _later(value, known.value):
        return f"The source has it, newer than the last poll ({column} {write_watermark(value)}): the next poll reads it."
    return (
        f"The source has it, but its {column} ({write_watermark(value)}) lies before the watermark"
        f" ({write_watermark(known.value)}), so no poll sees it; {reconcile} will."
    )


def _later(one: object, other: object) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one >= other
    return isinstance(one, int) and isinstance(other, int) and one >= other


def _next_reconcile(schedule: str) -> str:
    if schedule == "never":
        return "a reconcile (run: cdc-sync reconcile)"
    minute, _, rest = schedule.partition(" ")
    hour, _, days = rest.partition(" ")
    daily = minute.isdecimal() and hour.isdecimal() and days == "* * *"
    when = f"{int(hour):02}:{int(minute):02}" if daily else schedule
    return f"the next reconcile ({when})"


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    account = fields_of(row["payload"]).get("account")
    told = {**row, "account": account, "last_error": _problems(row["last_error"])}
    return {name: told[name] for name in _LISTED}


def _problems(text: str | None) -> list[dict[str, str]] | None:
    return None if text is None else json.loads(text)
