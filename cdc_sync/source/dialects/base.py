"""What must be known of a database to read it: `Dialect`, one room of this folder for each.

A room is the one place that knows a product. It says, in the order in which a source is used:

- how to connect: driver arguments, time-outs, a session that is read only and in UTC, and the zone
  that the database gives its times without one;
- what a result's columns hold, and in which forms an id may be stored;
- whether pages compare row values, or are read in legs;
- the time by the source's clock, and which transactions are open: `TransactionSnapshot` names the
  reason where the database cannot know, and what a person can do about it;
- what the catalog says: the schemas, how big a table is, the types that columns were declared with;
- the advice: the statement that makes an index;
- what its errors mean, with a hint each.

To add a database: write a room, name it in `dialects/__init__.py`, allow its URL in
`config/urls.py`, and give the tests in `tests/source` a server of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Inspector
from sqlalchemy.engine import URL, Engine

from cdc_sync.rules.watermark import TransactionSnapshot

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 300

CHECK_URL = "Check `source.url`."
CHECK_TABLE = "Check `source.table` and `source.query`."
CHECK_COLUMNS = (
    "Check `source.id`, `source.watermark`, `source.where`, `source.deleted_when`, `source.query`"
    " and `mapping`."
)
CHECK_SYNTAX = "Check `source.query`, `source.where` and `source.deleted_when`."
GRANT_SELECT = "Grant the reader SELECT on it."

Code = str | int


class ColumnKind(StrEnum):
    """What a result's column holds, as coarse as a change of it would change payloads."""

    NUMBER = "number"
    FLOAT = "float"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    OTHER = "other"
    ANY = "any"  #: the column has no type: each value has its own

    @property
    def words(self) -> str:
        """As what a person calls it."""
        return "of another type" if self is ColumnKind.OTHER else f"a {self.value}"


class DeclaredType(StrEnum):
    """The type that the catalog declares for a column, as coarse as `init` needs it."""

    TIMESTAMP = "timestamp"
    DATE = "date"
    NUMBER = "number"
    TEXT = "text"
    ANY = "any"  #: a text that may be a time
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TableSize:
    """The bytes of a table, and its rows by the server's estimate (None: there is none)."""

    bytes: int
    estimated_rows: int | None


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a source cannot be asked: its error codes or words of its messages, and what to say.

    `message` is a template with `{where}`, `{user}` and `{database}`.
    """

    signs: tuple[Code, ...]
    message: str
    hint: str


def login_refused(*signs: Code) -> Outage:
    """The outage of a wrong user or password."""
    return Outage(signs, 'The source at {where} refused the password of "{user}".', CHECK_URL)


def unknown_database(*signs: Code) -> Outage:
    """The outage of a database that is not there, or not for this user."""
    message = 'The source at {where} has no database "{database}" for "{user}".'
    return Outage(signs, message, CHECK_URL)


def unreachable(*signs: Code) -> Outage:
    """The outage of a server that does not answer."""
    hint = "Check `source.url`, and that the database is up."
    return Outage(signs, "The source at {where} cannot be reached.", hint)


class Dialect(ABC):
    """Everything that is known of one database. Has no state of its own, so that all may share it.

    The defaults hold for a server with the standard's SQL; a room overrides what differs.
    """

    name: ClassVar[str]  #: as people call it
    #: Whether `(a, b) > (:a, :b)` is answered from an index; else a page is read in legs.
    row_values_use_index: ClassVar[bool] = True
    #: Whether an id may be stored as 17 and as '17', which the database tells apart.
    ids_are_untyped: ClassVar[bool] = False
    #: What each error code means for the configuration: the hint.
    mistakes: ClassVar[Mapping[Code | None, str]]
    #: What each other error means, the first that fits.
    outages: ClassVar[Sequence[Outage]]

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        """The URL and the driver's arguments to connect with. Raises SourceUnavailable."""
        return url, {}

    def prepare_engine(self, engine: Engine) -> None:  # noqa: B027  # most need nothing
        """Changes what SQLAlchemy has for this database and should not."""

    @abstractmethod
    def prepare_session(self, connection: Any) -> str:
        """Makes a new driver connection read only and in UTC; returns the zone that it had before.

        What is set here stays with the connection; no transaction may be left open.
        """

    def server_name(self, connection: Connection) -> str:
        """What answers, as people call it: PostgreSQL 16.4."""
        version = connection.dialect.server_version_info or ()
        return f"{self.name} {'.'.join(str(part) for part in version[:2])}"

    @abstractmethod
    def column_kinds(self, description: Sequence[Sequence[object]]) -> tuple[ColumnKind, ...]:
        """The kinds of a result's columns, from the DB-API's cursor description."""

    def stored_forms(self, parts: tuple[str, ...]) -> list[tuple[object, ...]]:
        """The forms in which an id with these parts may be stored."""
        return [parts]

    def is_whole_number(self, column: ColumnElement[Any]) -> ColumnElement[bool] | None:
        """The condition that a value is a whole number; None where the column's type says so."""
        return None

    @property
    @abstractmethod
    def clock_query(self) -> str:
        """The SELECT of the source's own time."""

    def clock(self, connection: Connection) -> datetime:
        """The source's own time, as an instant."""
        raw = connection.exec_driver_sql(self.clock_query).scalar_one()
        return as_utc(datetime.fromisoformat(raw) if isinstance(raw, str) else raw)

    @abstractmethod
    def open_transactions(self, connection: Connection, table: str | None) -> TransactionSnapshot:
        """The transactions that may still commit; `table` as SQL writes it, None for a query.

        Must never leave one out: where the database cannot show all of them the snapshot says why
        and what to do, and `source.lookback` is in force.
        """

    def schemas(self, inspector: Inspector) -> list[str | None]:
        """The schemas with tables of people; None is the session's own."""
        return [None]

    def view_names(self, inspector: Inspector, schema: str | None) -> set[str]:
        """The views of a schema."""
        return set(inspector.get_view_names(schema))

    def table_size(self, connection: Connection, table: str) -> TableSize:
        """How big a table is, without reading it."""
        return TableSize(0, None)

    def declared_type(self, type_: object) -> DeclaredType:
        """The type of a column as SQLAlchemy's inspector found it."""
        return next((known for kind, known in _DECLARED if isinstance(type_, kind)), _OTHER)

    def index_statement(self, index: str, table: str, columns: str) -> str:
        """The SQL of an index; all three are quoted already."""
        return f"CREATE INDEX {index} ON {table} ({columns});"

    @abstractmethod
    def error_code(self, error: BaseException | None) -> Code | None:
        """The code of a driver's exception, as `mistakes` and `outages` have it."""

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


def quoted_table(connection: Connection, table: str) -> str:
    """A table's name, with or without a schema, as SQL writes it."""
    quote = connection.dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in table.rpartition(".") if part not in ("", "."))


def as_utc(value: datetime) -> datetime:
    """A time of the source's clock as an instant in UTC, which it is in where it says nothing."""
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def instant_text(instant: datetime) -> str:
    """An instant in a sentence."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
