"""What must be known of a database to read it: `Dialect`, one module of this folder for each.

Such a module is the only place that knows a product. `Dialect` asks in the order in which a source
is used: connection, session and zone; the kinds of columns and the forms of ids; the clock and the
open transactions; the catalog and the advice; what errors mean.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Inspector, Select
from sqlalchemy.engine import URL, Engine

from cdc_sync.rules.watermark import ExactHorizon, TransactionSnapshot, parse_whole_number

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 300

Code = str | int


class ColumnKind(StrEnum):
    """What a result's column holds, as coarse as a change of it would change payloads."""

    NUMBER = "number"
    FLOAT = "float"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIME = "time"  #: with a zone or without: the values say it
    BYTES = "bytes"
    ENUM = "enum"  #: shown and compared as a text, ordered by a number
    REAL = "real"  #: a float that shows fewer digits than it has
    BIT = "bit"  #: shown as bytes, ordered as a number
    OTHER = "other"
    ANY = "any"  #: the column has no type: each value has its own

    @property
    def words(self) -> str:
        """As what a person calls it."""
        unnamed = {ColumnKind.OTHER: "of another type", ColumnKind.BYTES: "of bytes"}
        return unnamed.get(self, f"a {self.value}")


class DeclaredType(StrEnum):
    """The type that the catalog declares for a column, as coarse as `init` needs it."""

    TIMESTAMP = "timestamp"
    DATE = "date"
    NUMBER = "number"
    VERSION = "version"  #: a number that the database itself makes greater with every change
    TEXT = "text"
    ANY = "any"  #: a text that may be a time
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """What an error of a database means: a mistake in the configuration, or that it is away.

    `message` is a template with `{where}`, `{user}`, `{database}` and `{text}`, the database's own.
    """

    hint: str
    message: str = "The source at {where} says: {text}"
    is_mistake: bool = True


@dataclass(frozen=True, slots=True)
class NoHorizon:
    """Why the open transactions say nothing of some rows, and what to do, in words."""

    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that `check` says of a server, and what to do about it."""

    message: str
    hint: str | None = None


CHECK_TABLE = ErrorMeaning("Check `source.table` and `source.query`.")
CHECK_COLUMNS = ErrorMeaning(
    "Check `source.id`, `source.watermark`, `source.where`, `source.deleted_when`, `source.query`"
    " and `mapping`."
)
CHECK_SYNTAX = ErrorMeaning("Check `source.query`, `source.where` and `source.deleted_when`.")
GRANT_SELECT = ErrorMeaning("Grant the reader SELECT on it.")
CHECK_URL = "Check `source.url`."
LOGIN_REFUSED = ErrorMeaning(
    CHECK_URL, 'The source at {where} refused the password of "{user}".', is_mistake=False
)
UNKNOWN_DATABASE = ErrorMeaning(
    CHECK_URL, 'The source at {where} has no database "{database}" for "{user}".', is_mistake=False
)
UNREACHABLE = ErrorMeaning(
    "Check `source.url`, and that the database is up.",
    "The source at {where} cannot be reached.",
    is_mistake=False,
)


class Dialect(ABC):
    """Everything that is known of one database. Has no state of its own, so that all may share it.

    The defaults hold for a server with the standard's SQL; a subclass overrides what differs.
    """

    name: ClassVar[str]  #: as people call it
    #: Whether `(a, b) > (:a, :b)` is answered from an index; else a page is read in legs.
    row_values_use_index: ClassVar[bool] = True
    #: Whether a session refuses to write; else the user must have no right to.
    is_read_only: ClassVar[bool] = True
    #: Whether a statement is a transaction of its own without a word; else each is rolled back.
    has_autocommit: ClassVar[bool] = True
    #: Whether an id may be stored as 17 and as '17', which the database tells apart.
    ids_are_untyped: ClassVar[bool] = False
    #: The kinds of columns, by the type code of the DB-API's cursor description.
    kinds: ClassVar[Mapping[object, ColumnKind]]
    #: The SELECT of the source's own time.
    clock_query: ClassVar[str]
    #: What an error means, by its code, or by words of its message where it has no code.
    errors: ClassVar[Mapping[Code, ErrorMeaning]]

    def keeps_connections(self, url: URL) -> bool:
        """Whether connections are kept from scan to scan."""
        return True

    def requirement(self, url: URL) -> str:
        """What pip installs where the driver is missing."""
        return "cdc-sync"

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        """The URL and the driver's arguments to connect with. Raises SourceUnavailable."""
        return url, {}

    def prepare_engine(self, engine: Engine) -> None:  # noqa: B027  # most need nothing
        """Changes what SQLAlchemy has for this database and should not."""

    @abstractmethod
    def prepare_session(self, connection: Any) -> str:
        """Makes a new driver connection read only and in UTC; returns the zone that it had before.

        The zone is empty where nobody can tell it. What is set here stays with the connection; no
        transaction may be left open.
        """

    @abstractmethod
    def cancel(self, engine: Engine, connection: Any) -> None:
        """Cancels what a driver connection executes in another thread; it then raises."""

    def server_name(self, connection: Connection) -> str:
        """What answers, as people call it: PostgreSQL 16.4."""
        version = connection.dialect.server_version_info or ()
        return f"{self.name} {'.'.join(str(part) for part in version[:2])}"

    def remark(self, connection: Connection) -> Remark | None:
        """What a person should know of this server beside its open transactions."""
        return None

    def written(self, name: str) -> str:
        """A name as SQLAlchemy writes it: always quoted, for no list of reserved words is whole."""
        return sa.quoted_name(name, quote=True)

    def column_kinds(self, cursor: Any) -> tuple[ColumnKind, ...]:
        """The kinds of a result's columns, from the DB-API's cursor description."""
        return tuple(self.kinds.get(column[1], ColumnKind.OTHER) for column in cursor.description)

    def stored_forms(self, part: str, kind: ColumnKind) -> Sequence[object]:
        """The values of a column of this kind that are written as `part` in an id."""
        if kind is not ColumnKind.BYTES:
            return (part,)
        try:
            return (bytes.fromhex(part),)
        except ValueError:
            return ()

    def column_types(self, connection: Connection, rows: Select[Any]) -> Sequence[str]:
        """The types of the columns of some rows, where parameters must be of them; else none."""
        return ()

    def kind_of(self, type_: str) -> ColumnKind | None:
        """The kind of a column of this type, where a cursor's description does not tell it."""
        return None

    def shown(self, column: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        """How a column of the key is read for people and payloads."""
        return column

    def exact(self, column: ColumnElement[Any], type_: str) -> ColumnElement[Any] | None:
        """How it is read to be sent back, where what is shown has fewer digits; else None."""
        return None

    def compared(self, value: ColumnElement[Any], type_: str) -> ColumnElement[Any]:
        """A parameter as it is compared with a column of this type: exactly, and by its index."""
        return value

    def is_null(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """The condition that a column is NULL."""
        return column.is_(None)

    def is_whole_number(self, column: ColumnElement[Any]) -> ColumnElement[bool] | None:
        """The condition that a value is a whole number; None where the column's type says so."""
        return None

    def clock(self, connection: Connection) -> datetime:
        """The source's own time, as an instant."""
        raw = connection.exec_driver_sql(self.clock_query).scalar_one()
        return as_utc(datetime.fromisoformat(raw) if isinstance(raw, str) else raw)

    @abstractmethod
    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        """The transactions that may still commit; `rows` is the SELECT of what will be read.

        Must never leave one out: where the database cannot show all of them the snapshot says why
        and what to do, and `source.lookback` is in force.
        """

    def exact_horizon(self, connection: Connection, type_: str) -> ExactHorizon | None:
        """The horizon that the database itself tells of a watermark column of this type, if any."""
        return None

    def external_data(self, connection: Connection, rows: Select[Any]) -> NoHorizon | None:
        """What these rows read that has transactions of elsewhere; None where it has not."""
        return None

    def schemas(self, inspector: Inspector) -> list[str | None]:
        """The schemas with tables of people; None is the session's own."""
        return [None]

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        """The views of a schema."""
        return set(inspector.get_view_names(schema))

    def table_size(self, connection: Connection, table: str) -> tuple[int, int | None]:
        """The bytes of a table and the server's estimate of its rows, without reading it."""
        return 0, None

    def declared_type(self, type_: object) -> DeclaredType:
        """The type of a column as SQLAlchemy's inspector found it."""
        return next((known for kind, known in _DECLARED if isinstance(type_, kind)), _OTHER)

    def index_statement(self, index: str, table: str, columns: str) -> str | None:
        """The SQL of an index; all three are quoted already. None where nobody can tell."""
        return f"CREATE INDEX {index} ON {table} ({columns});"

    def is_partitioned(self, connection: Connection, table: str) -> bool:
        """Whether an index of a table is one of all its partitions."""
        return False

    def error_meaning(self, error: BaseException | None) -> ErrorMeaning | None:
        """What a driver's exception means; None where this is not known."""
        code = self.error_code(error)
        if code is not None:
            return self.errors.get(code)
        words = self.error_message(error)
        return next((known for sign, known in self.errors.items() if str(sign) in words), None)

    def error_code(self, error: BaseException | None) -> Code | None:
        """The code of a driver's exception; None where it has only words."""
        return None

    def error_message(self, error: BaseException | None) -> str:
        """What the database said."""
        return str(error)


_OTHER = DeclaredType.OTHER
_DECLARED: tuple[tuple[type, DeclaredType], ...] = (
    (sa.DateTime, DeclaredType.TIMESTAMP),
    (sa.Date, DeclaredType.DATE),
    (sa.Integer, DeclaredType.NUMBER),
    (sa.Numeric, DeclaredType.NUMBER),
    (sa.String, DeclaredType.TEXT),
)


def typed_forms(part: str, kind: ColumnKind) -> Sequence[object] | None:
    """A part of an id as a value of its column's kind, if it is one; None for kinds without."""
    read = _READ.get(kind)
    if read is None:
        return None
    try:
        return (read(part),)
    except (ValueError, InvalidOperation):
        return ()


def _number(part: str) -> int | Decimal:
    whole = parse_whole_number(part)
    number = Decimal(part) if whole is None else whole
    if isinstance(number, Decimal) and not number.is_finite():
        raise ValueError(part)
    return number


_PART = r'"(?:[^"]|"")+"|[^".]+'
_TABLE = re.compile(rf"(?:({_PART})\.)?({_PART})")
_TIMES = (ColumnKind.TIME, ColumnKind.TIMESTAMP, ColumnKind.TIMESTAMPTZ)
_READ: dict[ColumnKind, Callable[[str], object]] = {
    ColumnKind.NUMBER: _number,
    ColumnKind.FLOAT: float,
    ColumnKind.DATE: date.fromisoformat,
    **dict.fromkeys(_TIMES, datetime.fromisoformat),
}


def split_table(table: str) -> tuple[str | None, str]:
    """Schema and name of a table as the configuration has it; a part with a dot is in quotes."""
    found = _TABLE.fullmatch(table)
    if '"' not in table or found is None:
        schema, _, name = table.rpartition(".")
        return schema or None, name
    schema, name = (part and _unquoted(part) for part in found.groups())
    return schema, name


def join_table(schema: str | None, name: str) -> str:
    """How the configuration names a table."""
    parts = [part for part in (schema, name) if part is not None]
    return ".".join(f'"{part}"' if "." in part else part for part in parts)


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def quoted_table(connection: Connection, table: str) -> str:
    """A table's name, with or without a schema, as SQL writes it."""
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in split_table(table) if part is not None)


def as_utc(value: datetime) -> datetime:
    """A time of the source's clock as an instant in UTC, which it is in where it says nothing."""
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """An instant in a sentence."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
