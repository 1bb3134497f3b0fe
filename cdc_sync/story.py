"""Contracts as the commands tell of them: lists, and one contract's whole story."""

import json
from typing import Any

from cdc_sync.contract import Status, changed_fields, fields_of
from cdc_sync.state import contracts, history, lookup
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


def find_contracts(
    state: Database, text: str, limit: int, status: Status | None = None
) -> dict[str, Any]:
    """Those of this id or reference, and those whose account begins so, in any case of letters.

    With a status those of it alone. `more`: there are more of them than were asked for.
    """
    with state.read() as tx:
        named = contracts.find(tx, text)
        rows = lookup.of_account(tx, text, status, limit + 1)
    if named and status in (None, named["status"]):
        rows.insert(0, named)
    found = {row["source_id"]: row for row in rows}
    shown = [_listed(row) for row in list(found.values())[:limit]]
    return {"contracts": shown, "more": len(found) > limit}


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


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    account = fields_of(row["payload"]).get("account")
    told = {**row, "account": account, "last_error": _problems(row["last_error"])}
    return {name: told[name] for name in _LISTED}


def _problems(text: str | None) -> list[dict[str, str]] | None:
    return None if text is None else json.loads(text)
