"""Rows that are given to a statement as ONE parameter, on SQLite and on PostgreSQL.

At each row of an `executemany` sqlite3 lets the interpreter go, and then waits for every thread
that is busy; a group that is one statement waits once.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, FromClause, Result
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeEngine

from cdc_sync.state.columns import utc_text

Columns: TypeAlias = Mapping[str, TypeEngine[Any]]
Row: TypeAlias = Mapping[str, object]

_ROWS = sa.bindparam("given", type_=sa.Text())


class _Form(NamedTuple):
    """How a database takes them: the statement, and the JSON that it reads."""

    statement: Executable
    encode: Callable[[Sequence[Row]], str]


class ForRows:
    """One statement for any number of rows; `build` makes it of the table that they are."""

    def __init__(self, columns: Columns, build: Callable[[FromClause], Executable]) -> None:
        self._forms = {
            "sqlite": _Form(build(_sqlite_table(columns)), _encoder(utc_text)),
            "postgresql": _Form(build(_postgresql_table(columns)), _encoder(datetime.isoformat)),
        }

    def execute(self, tx: Connection, rows: Sequence[Row], **values: object) -> None:
        """Does it, with the other parameters; nothing where there is no row.

        What a row does not have is NULL.
        """
        if rows:
            self._execute(tx, rows, **values)

    def rows(self, tx: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """What it answers."""
        return self._execute(tx, rows).all()

    def _execute(self, tx: Connection, rows: Sequence[Row], **values: object) -> Result[Any]:
        form = self._forms[tx.dialect.name]
        return tx.execute(form.statement, {"given": form.encode(rows), **values})


def _encoder(instant: Callable[[datetime], str]) -> Callable[[Sequence[Row]], str]:
    def encode(rows: Sequence[Row]) -> str:
        return orjson.dumps(rows, instant, orjson.OPT_PASSTHROUGH_DATETIME).decode()

    return encode


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
