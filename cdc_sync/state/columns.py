"""Column types that are the same on SQLite and PostgreSQL, and lists as one parameter."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Dialect
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware instant: timestamptz on PostgreSQL, a sortable UTC text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: SQLite gets UTC without a zone."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: always in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def among(tx: Connection, column: ColumnElement[Any], texts: Iterable[str]) -> ColumnElement[bool]:
    """`column` is one of the texts, given as ONE parameter: a page's ids are compared at once."""
    return column.in_(listed(tx, texts))


def listed(tx: Connection, texts: Iterable[str]) -> sa.Select[tuple[str]]:
    """A SELECT of the texts, given as one parameter."""
    if tx.dialect.name == "sqlite":
        given = sa.func.json_each(json.dumps(list(texts))).table_valued("value")
        return sa.select(given.c.value)
    array = sa.cast(list(texts), sa.ARRAY(sa.Text()))
    return sa.select(sa.func.unnest(array).column_valued("value"))
