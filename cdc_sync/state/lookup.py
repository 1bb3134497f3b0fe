"""The contract table as people look things up in it: by account, and by why it is stuck."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.sql.elements import ColumnElement

from cdc_sync.contract import SourceId, Status
from cdc_sync.state.tables import contract

_KEY_LENGTH = 60  # characters of an account that the index knows, with its first quote
_GREATEST = "\U0010ffff"


class Stuck(NamedTuple):
    """A contract that is rejected or waits, and why."""

    source_id: SourceId
    reference: str | None
    http_status: int | None
    last_error: str | None
    payload: str


def of_account(
    tx: Connection, beginning: str, status: Status | None, limit: int
) -> list[dict[str, Any]]:
    """Contracts whose account begins so, in order of their account; case does not matter.

    With a status those of it alone.
    """
    # As the payload has it: JSON, after its first quote.
    sought = json.dumps(beginning, ensure_ascii=False)[:-1][:_KEY_LENGTH]
    key = _account_key(tx)
    lowest = sa.func.lower(sought)
    query = (
        select(contract)
        .where(key >= lowest, key < lowest.concat(_GREATEST))
        .order_by(key, contract.c.source_id)
        .limit(limit)
    )
    if status is not None:
        query = query.where(contract.c.status == status.value)
    return [dict(row) for row in tx.execute(query).mappings()]


def stuck(tx: Connection, status: Status, limit: int) -> Iterator[Stuck]:
    """Contracts of this status, in order of their id, with what refusals are grouped by."""
    columns = (getattr(contract.c, name) for name in Stuck._fields)
    query = (
        select(*columns)
        .where(contract.c.status == status.value, sa.text("status <> 'synced'"))
        .order_by(contract.c.source_id)
        .limit(limit)
    )
    for row in tx.execute(query):
        yield Stuck(*row)


def _account_key(tx: Connection) -> ColumnElement[str]:
    # As the migration has it, or the index is of no use.
    key = sa.func.lower(
        sa.func.substr(contract.c.payload, sa.literal_column("12"), sa.literal_column("60")),
        type_=sa.Text(),
    )
    return key.collate("C") if tx.dialect.name == "postgresql" else key
