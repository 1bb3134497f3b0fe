"""The tables of the state database as the newest migration leaves them, and bulk statements.

All instants are stored in UTC, on SQLite as sortable texts. A statement for many rows gets them
as one parameter (`BulkStatement`, `among`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Float,
    FromClause,
    Index,
    Integer,
    MetaData,
    Result,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeDecorator, TypeEngine

from cdc_sync.contract import Status

REVISION = "0004"  #: the newest migration; compared before Alembic is imported at all
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware instant: timestamptz on PostgreSQL, a sortable UTC text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the instant as the driver takes it: for SQLite in UTC, without its zone."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the instant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


@lru_cache(maxsize=256)  # a page of contracts is written with one `now`
def utc_text(instant: datetime) -> str:
    """Returns an instant as SQLite stores it: sortable, in UTC."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(" ", "microseconds").removesuffix("+00:00")


contract = Table(
    "contract",
    metadata,
    Column("source_id", Text, primary_key=True),
    Column("reference", Text, unique=True),
    Column("payload", Text, nullable=False),
    Column("acknowledged", Text),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("http_status", Integer),
    Column("last_error", Text),
    Column("held_run", Integer),
    Column("in_doubt", Instant),
    Column("claimed_by", Text),
    Column("claimed_until", Instant),
    Column("first_seen_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("acknowledged_at", Instant),
    Column("gone_at", Instant),
)


_NOT_SYNCED = "status <> 'synced'"


def _partial_index(name: str, condition: str, *columns: Column[Any]) -> None:
    """Adds an index of some rows: it stays small, however many contracts there are."""
    where = sa.text(condition)
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


_partial_index(
    "ix_contract_due",
    "next_attempt_at IS NOT NULL AND claimed_by IS NULL",
    contract.c.next_attempt_at,
)
_partial_index("ix_contract_status", _NOT_SYNCED, contract.c.status, contract.c.source_id)
_partial_index("ix_contract_claimed", "claimed_by IS NOT NULL", contract.c.claimed_by)

watermark = Table(
    "watermark",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", Text),
    Column("type", Text),
    Column("version", Integer, nullable=False),
    Column("moved_at", Instant),
)
watermark_move = Table(
    "watermark_move",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("from", Text),
    Column("to", Text),
    Column("kind", Text, nullable=False),
    Column("reason", Text),
)
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("started", Instant, nullable=False, index=True),
    Column("finished", Instant),
    Column("rows", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Column("updated", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("error", Text),
    Column("late", Integer, nullable=False, server_default="0"),
    Column("late_seconds", Float),
)
delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("source_id", Text, nullable=False, index=True),
    Column("reference", Text),
    Column("http_status", Integer),
    Column("changed", Text),
    Column("error", Text),
)
acceptance = Table(
    "acceptance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("source_id", Text, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text),
)
control = Table(
    "control",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


def fetch_dicts(tx: Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    """Returns the rows of a query, each by the names of its columns."""
    return [dict(row) for row in tx.execute(query).mappings()]


#: The condition that a contract is not synced, as the small index of these has it.
IS_NOT_SYNCED = sa.text(_NOT_SYNCED)


def has_status(*statuses: Status) -> ColumnElement[bool]:
    """Returns the condition that a contract has one of these statuses, none of which is synced.

    SQLite takes the index of what is not synced only where the statement says so, too.
    """
    return sa.and_(contract.c.status.in_([status.value for status in statuses]), IS_NOT_SYNCED)


def has_contract(tx: Connection, which: ColumnElement[bool]) -> bool:
    """Returns whether a condition is true of any contract."""
    return tx.execute(sa.select(contract.c.source_id).where(which).limit(1)).first() is not None


def page_by_id(query: sa.Select[Any], after: str | None, limit: int) -> sa.Select[Any]:
    """Returns the query of contracts, in order of their id from a cursor on."""
    page = query.order_by(contract.c.source_id).limit(limit)
    return page if after is None else page.where(contract.c.source_id > after)


def among(tx: Connection, column: ColumnElement[Any], texts: Iterable[str]) -> ColumnElement[bool]:
    """Returns the condition that `column` is one of the texts, given as one parameter."""
    return column.in_(listed(tx, texts))


def in_one_order(tx: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns the order in which rows are locked everywhere, so that no two processes deadlock.

    It is that of Python's `sorted`, not that of the database's language.
    """
    return column if tx.dialect.name == "sqlite" else sa.collate(column, "C")


def listed(tx: Connection, texts: Iterable[str]) -> sa.Select[tuple[str]]:
    """Returns a SELECT of the texts, given as one parameter."""
    if tx.dialect.name == "sqlite":
        given = sa.func.json_each(json.dumps(list(texts))).table_valued("value")
        return sa.select(given.c.value)
    array = sa.cast(list(texts), sa.ARRAY(sa.Text()))
    return sa.select(sa.func.unnest(array).column_valued("value"))


Columns: TypeAlias = Mapping[str, TypeEngine[Any]]
Row: TypeAlias = Mapping[str, object]
_ROWS = sa.bindparam("given", type_=sa.Text())


class BulkStatement:
    """One statement for any number of rows, which it gets as one JSON parameter.

    executemany would release and reacquire the GIL for each row. `build` makes the statement of
    the table that the rows are; it is called once for each kind of database.
    """

    def __init__(self, columns: Columns, build: Callable[[FromClause], Executable]) -> None:
        self._columns = columns
        self._build = build
        self._statements: dict[str, Executable] = {}

    def execute(self, tx: Connection, rows: Sequence[Row], **values: object) -> None:
        """Executes it with the other parameters, unless there is no row.

        A column that a row does not have is NULL.
        """
        if rows:
            self._execute(tx, rows, **values)

    def rows(self, tx: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Returns the rows that it selects."""
        return self._execute(tx, rows).all()

    def _execute(self, tx: Connection, rows: Sequence[Row], **values: object) -> Result[Any]:
        dialect = tx.dialect.name
        if dialect not in self._statements:
            table = _sqlite_table if dialect == "sqlite" else _postgresql_table
            self._statements[dialect] = self._build(table(self._columns))
        instant = utc_text if dialect == "sqlite" else datetime.isoformat
        given = orjson.dumps(rows, instant, orjson.OPT_PASSTHROUGH_DATETIME).decode()
        return tx.execute(self._statements[dialect], {"given": given, **values})


def bulk_statement(
    columns: Columns,
) -> Callable[[Callable[[FromClause], Executable]], BulkStatement]:
    """Makes a BulkStatement of the function that builds it."""
    return partial(BulkStatement, columns)


def _sqlite_table(columns: Columns) -> FromClause:
    row = sa.func.json_each(_ROWS).table_valued("value", name="row")
    values = (
        sa.type_coerce(sa.func.json_extract(row.c.value, sa.literal_column(f"'$.{name}'")), type_)
        for name, type_ in columns.items()
    )
    named = (value.label(name) for value, name in zip(values, columns, strict=True))
    # Each value is taken out of the text once, however often a statement names it.
    return sa.select(*named).cte("given").prefix_with("MATERIALIZED")


def _postgresql_table(columns: Columns) -> FromClause:
    rows = sa.func.jsonb_to_recordset(sa.cast(_ROWS, JSONB))
    named = (sa.column(name, type_) for name, type_ in columns.items())
    return rows.table_valued(*named, name="given").render_derived(with_types=True)
