"""Column types that are the same on SQLite and PostgreSQL, and lists as one parameter."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Dialect
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine


class _PlainText(sqlite.DATETIME):
    """A DATETIME in the schema whose texts go to SQLite, and come back, as they are."""

    def bind_processor(self, dialect: Dialect) -> None:
        """Nothing is to be done."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """Nothing is to be done."""


@lru_cache(maxsize=256)  # a page of contracts is written with one `now`
def utc_text(instant: datetime) -> str:
    """An instant as SQLite keeps it: sortable, in UTC."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


@lru_cache(maxsize=256)  # and read again with it
def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


_PLAIN_TEXT: TypeEngine[Any] = _PlainText()  # type: ignore[no-untyped-call]


class Instant(TypeDecorator[datetime]):
    """An aware instant: timestamptz on PostgreSQL, a sortable UTC text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """What the database is spoken to with: SQLite gets the text itself."""
        return dialect.type_descriptor(
            _PLAIN_TEXT if dialect.name == "sqlite" else self.impl_instance
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database."""
        if value is None or dialect.name != "sqlite":
            return value
        return utc_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database: always in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return _instant(value)
        return cast("datetime", value).astimezone(UTC)


def among(tx: Connection, column: ColumnElement[Any], texts: Iterable[str]) -> ColumnElement[bool]:
    """`column` is one of the texts, given as ONE parameter: a page's ids are compared at once."""
    return column.in_(listed(tx, texts))


def in_one_order(tx: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The order in which rows are locked, everywhere: nobody waits for one who waits for him.

    That of Python's `sorted`, not that of the database's language.
    """
    return column if tx.dialect.name == "sqlite" else sa.collate(column, "C")


def listed(tx: Connection, texts: Iterable[str]) -> sa.Select[tuple[str]]:
    """A SELECT of the texts, given as one parameter."""
    if tx.dialect.name == "sqlite":
        given = sa.func.json_each(json.dumps(list(texts))).table_valued("value")
        return sa.select(given.c.value)
    array = sa.cast(list(texts), sa.ARRAY(sa.Text()))
    return sa.select(sa.func.unnest(array).column_valued("value"))
