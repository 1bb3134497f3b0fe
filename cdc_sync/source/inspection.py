"""Facts about the source for `check`: its index on the watermark, its keys, ids that are equal."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.config.model import SourceConfig
from cdc_sync.contract import WatermarkValue, encode_id
from cdc_sync.source.statements import Statements

EXAMPLES = 3
AHEAD = timedelta(minutes=2)  #: stamps beyond it lie in the future, by the source's clock


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


class Holds(StrEnum):
    """What a column holds, as coarse as a guess needs it."""

    TIME = "time"
    DAY = "day"
    NUMBER = "number"
    TEXT = "text"
    ANY = "any"  #: SQLite's texts, which may be times
    OTHER = "other"


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
