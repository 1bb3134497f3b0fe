"""What tables a source has: columns, keys, indexes, and how many rows, estimated where many."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Inspector, exc
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import NullType

from cdc_sync.errors import SourceMistake
from cdc_sync.source.columns import zone_of
from cdc_sync.source.engine import in_our_words, open_source
from cdc_sync.source.inspection import Column, Holds, Table

_COUNTED_BELOW = 64 * 1024 * 1024  # bytes of a table whose rows are counted and not estimated
_ESTIMATED_FROM = 1_000_000  # rows; a partitioned table has no bytes of its own
_SYSTEM_SCHEMAS = ("information_schema", "pg_catalog", "pg_toast")
_POSTGRESQL_SIZE = sa.text(
    "SELECT pg_relation_size(oid), reltuples::bigint FROM pg_class WHERE oid = to_regclass(:name)"
)
_MYSQL_SIZE = sa.text(
    "SELECT data_length, table_rows FROM information_schema.TABLES"
    " WHERE table_schema = DATABASE() AND table_name = :name"
)
_HOLDS: tuple[tuple[type, Holds], ...] = (
    (sa.DateTime, Holds.TIME),
    (sa.Date, Holds.DAY),
    (sa.Integer, Holds.NUMBER),
    (sa.Numeric, Holds.NUMBER),
    (sa.String, Holds.TEXT),
)


class Catalog:
    """One connection to a source, for questions about its tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._backend = connection.dialect.name.replace("mariadb", "mysql")

    @property
    def odd_zone(self) -> str | None:
        """The source's name for its time zone, where it is none that the world knows."""
        name = str(self._connection.info["zone"])
        try:
            zone_of(name, None)
        except SourceMistake:
            return name
        return None

    def tables(self) -> list[Table]:
        """Every table and view outside the system's schemas."""
        inspector = sa.inspect(self._connection)
        found: list[Table] = []
        for schema in self._schemas(inspector):
            columns = inspector.get_multi_columns(schema=schema, kind=sa.engine.ObjectKind.ANY)
            primary = inspector.get_multi_pk_constraint(schema=schema)
            indexes = inspector.get_multi_indexes(schema=schema)
            views = {*inspector.get_view_names(schema), *self._materialized(inspector, schema)}
            for place, its_columns in columns.items():
                key = tuple(primary[place]["constrained_columns"]) if place in primary else ()
                name = place[1] if schema is None else f"{schema}.{place[1]}"
                table = self._table(name, its_columns, key, indexes.get(place) or ())
                found.append(replace(table, is_view=place[1] in views))
        return found

    def rows(self, table: str) -> tuple[int | None, bool]:
        """How many rows a table has (None: unknown, or not ours to read), and whether exactly."""
        size, estimate = self._size(table)
        if size >= _COUNTED_BELOW or (estimate or 0) >= _ESTIMATED_FROM:
            return (estimate if estimate is not None and estimate >= 0 else None), False
        schema, _, name = table.rpartition(".")
        rows = sa.table(name, schema=schema or None)
        try:
            count = self._connection.execute(sa.select(sa.func.count()).select_from(rows))
            return int(count.scalar_one()), True
        except exc.DBAPIError:
            if self._connection.invalidated:
                raise
            return None, False

    def _schemas(self, inspector: Inspector) -> Iterator[str | None]:
        yield None
        if self._backend == "postgresql":
            for schema in inspector.get_schema_names():
                ours = schema == inspector.default_schema_name
                if not ours and not schema.startswith(_SYSTEM_SCHEMAS):
                    yield schema

    def _materialized(self, inspector: Inspector, schema: str | None) -> list[str]:
        on_postgresql = self._backend == "postgresql"
        return inspector.get_materialized_view_names(schema) if on_postgresql else []

    def _table(
        self,
        name: str,
        columns: Sequence[ReflectedColumn],
        primary: tuple[str, ...],
        indexes: Sequence[Any],
    ) -> Table:
        over = [
            (tuple(index["column_names"]), index["unique"])
            for index in indexes
            if all(index["column_names"]) and not _is_partial(index)
        ]
        never_null = {column["name"] for column in columns if not column["nullable"]}
        unique = [names for names, is_unique in over if is_unique and never_null.issuperset(names)]
        return Table(
            name=name,
            columns=tuple(Column(c["name"], self._holds(c["type"])) for c in columns),
            keys=tuple(dict.fromkeys([*([primary] if primary else []), *unique])),
            indexes=tuple(names for names, _ in over),
        )

    def _holds(self, type_: Any) -> Holds:
        if self._backend == "sqlite" and isinstance(type_, sa.String | NullType):
            return Holds.ANY
        if isinstance(type_, mysql.TINYINT):  # a flag
            return Holds.OTHER
        return next((holds for kind, holds in _HOLDS if isinstance(type_, kind)), Holds.OTHER)

    def _size(self, table: str) -> tuple[int, int | None]:
        if self._backend == "sqlite":
            return 0, None
        statement, name = _MYSQL_SIZE, table
        if self._backend == "postgresql":
            quote = self._connection.dialect.identifier_preparer.quote
            statement = _POSTGRESQL_SIZE
            name = ".".join(quote(part) for part in table.rpartition(".") if part not in ("", "."))
        row = self._connection.execute(statement, {"name": name}).first()
        return (0, None) if row is None else (int(row[0] or 0), row[1])


def _is_partial(index: Any) -> bool:
    options = index.get("dialect_options") or {}
    return any(name.endswith("_where") and value for name, value in options.items())


@contextmanager
def open_catalog(url: str) -> Iterator[Catalog]:
    """The catalog of the source at a URL. Raises SourceUnavailable, SourceMistake."""
    engine = open_source(url)
    try:
        with in_our_words(engine), engine.connect() as connection:
            yield Catalog(connection)
    finally:
        engine.dispose()
