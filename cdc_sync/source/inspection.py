"""What the catalog and a few counts say: of one source for `check`, of every table for `init`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection, exc
from sqlalchemy.engine.interfaces import ReflectedColumn

from cdc_sync.contract import WatermarkValue, encode_id
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.source.columns import written_forms, zone_of
from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.dialects.base import (
    DeclaredType,
    Dialect,
    join_table,
    quoted_table,
    split_table,
)
from cdc_sync.source.engine import open_source, translating_errors
from cdc_sync.source.reader import Scan
from cdc_sync.source.statements import named_table

EXAMPLES = 3
AHEAD = timedelta(minutes=2)  #: stamps beyond it lie in the future, by the source's clock
_COUNTED_BELOW = 64 * 1024 * 1024  # bytes of a table whose rows are counted and not estimated
_ESTIMATED_FROM = 1_000_000  # rows; a partitioned table has no bytes of its own


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was counted in the source; `duplicate_ids` are the first few that several rows have.

    `least` and `greatest` are of the watermark column, which is without zone where `naive`; None
    for one that no calendar has; `forms` are texts of it that are written in different ways, where
    it holds texts. `whole_days`: its times are midnights. `ahead` rows are stamped later than
    `AHEAD` after `clock`.
    """

    rows: int
    null_watermarks: int
    null_ids: int
    duplicate_ids: tuple[str, ...]
    primary: tuple[str, ...]
    least: WatermarkValue | None
    greatest: WatermarkValue | None
    ahead: int
    forms: tuple[str, ...]
    naive: bool
    whole_days: bool
    clock: datetime


def count_facts(scan: Scan, clock: datetime) -> SourceFacts:
    """Counts what can be told of the ids and the watermark; `clock` is the source's own."""
    column, statements = scan.column, scan.statements
    is_number = column.type is WatermarkType.INTEGER
    least, greatest = tuple(scan.connection.execute(statements.extremes()).one())
    primary = _primary_key(scan)
    return SourceFacts(
        rows=scan.count(),
        null_watermarks=scan.count(scan.dialect.is_null(statements.watermark)),
        null_ids=scan.count_null_ids(),
        duplicate_ids=_duplicate_ids(scan, primary),
        primary=primary,
        least=column.value_of(least),
        greatest=column.value_of(greatest),
        # Later than a bound that is rounded down: the rows of a whole day are not.
        ahead=0 if is_number else scan.count_after(column.bound(clock + AHEAD)),
        forms=written_forms(scan.connection, statements) if column.form else (),
        naive=column.naive_zone is not None,
        whole_days=not column.is_in_days
        and all(_is_midnight(column.value_of(raw), scan.zone) for raw in (least, greatest)),
        clock=clock,
    )


def _is_midnight(value: WatermarkValue | None, zone: ZoneInfo) -> bool:
    return isinstance(value, datetime) and value.astimezone(zone).time() == time()


def missing_index(scan: Scan) -> str | None:
    """Returns the SQL of the index that polls want; None where it is there, or for a query."""
    wanted = [scan.config.watermark, *scan.config.id]
    place = _table(scan)
    if place is None:
        return None
    schema, table = place
    indexes = sa.inspect(scan.connection).get_indexes(table, schema=schema)
    if any(list(index["column_names"][: len(wanted)]) == wanted for index in indexes):
        return None
    quote = scan.connection.dialect.identifier_preparer.quote
    statement = scan.dialect.index_statement(
        quote(f"{table}_{scan.config.watermark}"),
        quoted_table(scan.connection, scan.config.table or ""),
        ", ".join(map(quote, wanted)),
    )
    if statement is not None and scan.dialect.is_partitioned(
        scan.connection, scan.config.table or ""
    ):
        return statement.replace(" CONCURRENTLY", "")  # which PostgreSQL has for none of these
    return statement


def _primary_key(scan: Scan) -> tuple[str, ...]:
    """Returns the columns of the table's primary key; none of a view or a query."""
    place = _table(scan)
    if place is None:
        return ()
    key = sa.inspect(scan.connection).get_pk_constraint(place[1], schema=place[0])
    return tuple(key["constrained_columns"])


def _duplicate_ids(scan: Scan, primary: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the first few ids that several rows have, as the database compares them or as texts.

    Asks nothing where the primary key is among the id, unless ids are untyped: there 17 and '17'
    differ, and are one contract.
    """
    if not scan.dialect.ids_are_untyped and primary and set(primary) <= set(scan.config.id):
        return ()
    found = scan.connection.execute(scan.statements.duplicate_ids(EXAMPLES)).all()
    if not found and scan.dialect.ids_are_untyped:
        as_texts = scan.statements.duplicate_ids(EXAMPLES, as_texts=True)
        found = scan.connection.execute(as_texts).all()
    return tuple(encode_id(tuple(row)) for row in found)


def _table(scan: Scan) -> tuple[str | None, str] | None:
    """Schema and name of the table; None for a query, and for a view: its tables count."""
    if scan.config.table is None:
        return None
    schema, table = split_table(scan.config.table)
    names = sa.inspect(scan.connection).get_table_names(schema=schema)
    return (schema, table) if table in names else None


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """A column as the catalog declares it."""

    name: str
    type: DeclaredType


@dataclass(frozen=True, slots=True)
class CatalogTable:
    """A table of the catalog; `name` is schema-qualified where it must be.

    `keys` are the sets of columns that are unique, the primary key first; a view has none.
    `indexes` is None where nobody can tell them.
    """

    name: str
    columns: tuple[CatalogColumn, ...]
    keys: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] | None = ()
    is_view: bool = False


@contextmanager
def open_catalog(url: str) -> Iterator["Catalog"]:
    """The catalog of the source at a URL. Raises SourceUnavailable, SourceMistake."""
    engine = open_source(url)
    try:
        with translating_errors(engine), engine.connect() as connection:
            yield Catalog(connection, dialect_of(engine.url))
    finally:
        engine.dispose()


class Catalog:
    """One connection to a source, for questions about its tables."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    @property
    def odd_zone(self) -> str | None:
        """The source's name for its time zone, where it is none that the world knows, or empty."""
        name = str(self._connection.info["zone"])
        try:
            zone_of(name, None)
        except SourceMistake:
            return name
        return None

    def tables(self) -> list[CatalogTable]:
        """Returns every table and view outside the system's schemas."""
        inspector = sa.inspect(self._connection)
        found: list[CatalogTable] = []
        tells_indexes = self._dialect.index_statement("", "", "") is not None
        for schema in self._dialect.schemas(inspector):
            columns = inspector.get_multi_columns(schema=schema, kind=sa.engine.ObjectKind.ANY)
            primary = inspector.get_multi_pk_constraint(schema=schema)
            indexes = inspector.get_multi_indexes(schema=schema)
            views = self._dialect.view_names(inspector, schema)
            for place, its_columns in columns.items():
                key = tuple(primary[place]["constrained_columns"]) if place in primary else ()
                over = _whole_indexes(indexes.get(place) or ())
                found.append(
                    CatalogTable(
                        name=join_table(schema, place[1]),
                        columns=tuple(
                            CatalogColumn(
                                column["name"], self._dialect.declared_type(column["type"])
                            )
                            for column in its_columns
                        ),
                        keys=_keys(key, its_columns, over),
                        indexes=tuple(names for names, _ in over) if tells_indexes else None,
                        is_view=place[1] in views,
                    )
                )
        return found

    def reads_external_data(self, table: str) -> bool:
        """Returns whether a table or view reads what is committed elsewhere, or in a refresh."""
        rows = sa.select(sa.text("*")).select_from(named_table(table, self._dialect))
        try:
            return self._dialect.external_data(self._connection, rows) is not None
        except exc.DBAPIError:
            if self._connection.invalidated:
                raise
            return False  # it may not be read

    def rows(self, table: str) -> tuple[int | None, bool]:
        """Returns how many rows a table has (None: unknown or forbidden), and whether exactly."""
        size, estimate = self._dialect.table_size(self._connection, table)
        if size >= _COUNTED_BELOW or (estimate or 0) >= _ESTIMATED_FROM:
            return (estimate if estimate is not None and estimate >= 0 else None), False
        try:
            counted = sa.select(sa.func.count()).select_from(named_table(table, self._dialect))
            return int(self._connection.execute(counted).scalar_one()), True
        except exc.DBAPIError:
            if self._connection.invalidated:
                raise
            return None, False


def _whole_indexes(indexes: Sequence[Any]) -> list[tuple[tuple[str, ...], bool]]:
    """The columns of each index over whole columns and all rows, and whether it is unique."""
    return [
        (tuple(index["column_names"]), bool(index["unique"]))
        for index in indexes
        if all(index["column_names"]) and not _is_partial(index)
    ]


def _is_partial(index: Any) -> bool:
    options = index.get("dialect_options") or {}
    return any(name.endswith("_where") and value for name, value in options.items())


def _keys(
    primary: tuple[str, ...],
    columns: Sequence[ReflectedColumn],
    indexes: Sequence[tuple[tuple[str, ...], bool]],
) -> tuple[tuple[str, ...], ...]:
    never_null = {column["name"] for column in columns if not column["nullable"]}
    unique = [names for names, is_unique in indexes if is_unique and never_null.issuperset(names)]
    return tuple(dict.fromkeys([*([primary] if primary else []), *unique]))
