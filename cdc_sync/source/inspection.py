"""Facts about the source for `check`: its index on the watermark, its keys, ids that are equal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Inspector, exc
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import NullType

from cdc_sync.config.model import SourceConfig
from cdc_sync.contract import WatermarkValue, encode_id
from cdc_sync.errors import SourceMistake
from cdc_sync.source.columns import zone_of
from cdc_sync.source.engine import in_our_words, open_source
from cdc_sync.source.statements import Statements

EXAMPLES = 3
AHEAD = timedelta(minutes=2)  #: stamps beyond it lie in the future, by the source's clock
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


class Holds(StrEnum):
    """What a column holds, as coarse as a guess needs it."""

    TIME = "time"
    DAY = "day"
    NUMBER = "number"
    TEXT = "text"
    ANY = "any"  #: SQLite's texts, which may be times
    OTHER = "other"


_HOLDS: tuple[tuple[type, Holds], ...] = (
    (sa.DateTime, Holds.TIME),
    (sa.Date, Holds.DAY),
    (sa.Integer, Holds.NUMBER),
    (sa.Numeric, Holds.NUMBER),
    (sa.String, Holds.TEXT),
)


def has_watermark_index(connection: Connection, config: SourceConfig) -> bool | None:
    """Whether an index begins with (watermark, id); None where nothing can be said (a query)."""
    place = _table(connection, config)
    if place is None:
        return None
    schema, table = place
    wanted = [config.watermark, *config.id]
    indexes = [
        index["column_names"] for index in sa.inspect(connection).get_indexes(table, schema=schema)
    ]
    return any(list(columns[: len(wanted)]) == wanted for columns in indexes)


def index_statement(connection: Connection, config: SourceConfig) -> str:
    """The SQL that makes the index which a poll wants."""
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, [config.watermark, *config.id]))
    schema, _, table = (config.table or "").rpartition(".")
    place = ".".join(map(quote, [schema, table] if schema else [table]))
    if connection.dialect.name == "postgresql":
        return f"CREATE INDEX CONCURRENTLY ON {place} ({columns});"
    return f"CREATE INDEX {quote(f'{table}_{config.watermark}')} ON {place} ({columns});"


def primary_key(connection: Connection, config: SourceConfig) -> tuple[str, ...]:
    """The columns of the table's primary key; none of a view or a query."""
    place = _table(connection, config)
    if place is None:
        return ()
    key = sa.inspect(connection).get_pk_constraint(place[1], schema=place[0])
    return tuple(key["constrained_columns"])


def doubled_ids(
    connection: Connection, statements: Statements, config: SourceConfig
) -> tuple[str, ...]:
    """The first few ids that several rows have: as the database compares them, and as texts.

    Asks nothing where the primary key is among the id. SQLite is asked always: there 17 and '17'
    differ, and are one contract.
    """
    on_sqlite = connection.dialect.name == "sqlite"
    key = primary_key(connection, config)
    if not on_sqlite and key and set(key) <= set(config.id):
        return ()
    found = connection.execute(statements.doubled(EXAMPLES)).all()
    if not found and on_sqlite:
        found = connection.execute(statements.doubled(EXAMPLES, as_texts=True)).all()
    return tuple(encode_id(tuple(row)) for row in found)


def _table(connection: Connection, config: SourceConfig) -> tuple[str | None, str] | None:
    """Schema and name of the table; None for a query, and for a view: its tables count."""
    if config.table is None:
        return None
    schema, _, table = config.table.rpartition(".")
    names = sa.inspect(connection).get_table_names(schema=schema or None)
    return (schema or None, table) if table in names else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was counted in the source; `doubled` are ids that several rows have, the first few.

    `least` and `greatest` are of the watermark column, which is without zone where `naive`; None
    for one that no calendar has; `forms` are texts of it that are written in different ways, where
    it holds texts. `ahead` rows are stamped later than `AHEAD` after `clock`.
    """

    rows: int
    null_watermarks: int
    null_ids: int
    doubled: tuple[str, ...]
    primary: tuple[str, ...]
    least: WatermarkValue | None
    greatest: WatermarkValue | None
    ahead: int
    forms: tuple[str, ...]
    naive: bool
    clock: datetime


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the catalog."""

    name: str
    holds: Holds


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalog; `name` is schema-qualified where it must be.

    `keys` are the sets of columns that are unique, the primary key first; a view has none.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    is_view: bool = False


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
