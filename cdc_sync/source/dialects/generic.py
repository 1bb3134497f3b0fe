"""Any other database that SQLAlchemy has a dialect for, read by what that dialect says of it.

Nobody can ask such a database for its open transactions, so `source.lookback` is in force and the
sweeps find what comes later. Nothing is taken for granted that drivers do differently: transactions
are rolled back after each read, types are known by their names and else by their values, and a
catalog that the dialect cannot read is taken from the result of an empty SELECT.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Select, exc
from sqlalchemy.engine import URL, Engine
from sqlalchemy.engine.default import DefaultDialect

from cdc_sync.clock import utc_now
from cdc_sync.config.urls import PACKAGES
from cdc_sync.rules.watermark import TransactionSnapshot
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import ColumnKind, Dialect, ErrorMeaning, Remark, as_utc

_QUARTER = timedelta(minutes=15)  # zones differ by multiples of it
# What a type's name means, by the first that fits, and what SQLAlchemy has for it.
_NAMES: tuple[tuple[str, ColumnKind, type[Any]], ...] = (
    ("INTERVAL", ColumnKind.OTHER, sa.types.NullType),
    (r"(TIMESTAMP|DATETIME).*(WITH .*ZONE|TZ|OFFSET)", ColumnKind.TIMESTAMPTZ, sa.DateTime),
    ("TIMESTAMP|DATETIME", ColumnKind.TIME, sa.DateTime),
    ("DATE", ColumnKind.DATE, sa.Date),
    (r"[A-Z]*INT(EGER)?\d*\b|LONG\b|FIXED\b|SERIAL", ColumnKind.NUMBER, sa.Integer),
    ("DEC|NUMERIC|NUMBER", ColumnKind.NUMBER, sa.Numeric),
    ("FLOAT|DOUBLE|REAL", ColumnKind.FLOAT, sa.Float),
    (r"\w*(BLOB|BINARY|BYTE)", ColumnKind.BYTES, sa.LargeBinary),
    (r"\w*(CHAR|TEXT|STR|CLOB)", ColumnKind.OTHER, sa.String),
    ("BOOL|UUID|TIME|JSON", ColumnKind.OTHER, sa.types.NullType),
)
_WHAT = "Check `source.table`, `source.query` and every column that is named."
# By SQLSTATE: the whole of it, else its class.
_STATES = {
    **dict.fromkeys(("42S02", "42P01", "3F000"), base.CHECK_TABLE),
    **dict.fromkeys(("42S22", "42703"), base.CHECK_COLUMNS),
    "42501": base.GRANT_SELECT,
    "42": ErrorMeaning(_WHAT),
    "28": base.LOGIN_REFUSED,
    "08": ErrorMeaning(
        base.CHECK_URL, "The source at {where} cannot be reached: {text}", is_mistake=False
    ),
}
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")


class Generic(Dialect):
    """Knows no more than SQLAlchemy: SELECT, LIMIT, quoting and the current time."""

    name = "a database"
    row_values_use_index = False
    has_autocommit = False  # several dialects list it, and fail on it
    is_read_only = False
    kinds = {}
    errors = {}

    def keeps_connections(self, url: URL) -> bool:
        return bool(url.host)  # else it is a file, which others want to open between two scans

    def requirement(self, url: URL) -> str:
        return PACKAGES.get(url.get_backend_name(), "the SQLAlchemy dialect of this database")

    def prepare_engine(self, engine: Engine) -> None:
        dialect: Any = engine.dialect
        dialect.get_columns = _columns_of_result
        dialect.get_multi_columns = partial(DefaultDialect.get_multi_columns, dialect)
        for name, nothing in _NOTHING.items():
            setattr(dialect, name, _or_nothing(getattr(dialect, name), nothing))

    def prepare_session(self, connection: Any) -> str:
        return ""

    def cancel(self, engine: Engine, connection: Any) -> None:
        for name in ("interrupt", "cancel"):
            if (method := getattr(connection, name, None)) is not None:
                method()

    def server_name(self, connection: Connection) -> str:
        # Not its version: a dialect that is made from another's says the other's.
        return connection.engine.url.get_backend_name()

    def remark(self, connection: Connection) -> Remark:
        name = self.server_name(connection)
        return Remark(
            f"cdc-sync does not know {name}: it sees no open transactions there, sets no time-out"
            " and cannot make its sessions read-only",
            "Give the reader SELECT alone, and `source.lookback` more than the longest transaction;"
            " what comes later waits for a sweep, or for the reconcile.",
        )

    def column_kinds(self, cursor: Any) -> tuple[ColumnKind, ...]:
        return tuple(_named(column[1])[0] for column in cursor.description)

    def stored_forms(self, part: str, kind: ColumnKind) -> Sequence[object]:
        # A value of the column's own type: not every database compares a number with a text.
        forms = base.typed_forms(part, kind)
        return super().stored_forms(part, kind) if forms is None else forms

    def clock(self, connection: Connection) -> datetime:
        raw = connection.execute(sa.select(sa.func.current_timestamp())).scalar_one()
        value = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
        if value.tzinfo is None:
            # A wall clock of a zone that nobody tells: by ours, which is not off by as much.
            value -= round((value - utc_now().replace(tzinfo=None)) / _QUARTER) * _QUARTER
        return as_utc(value)

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        why = f"cdc-sync cannot ask {self.server_name(connection)} for its open transactions"
        return TransactionSnapshot(self.clock(connection), unavailable_reason=why)

    def written(self, name: str) -> str:
        return name  # in quotes many take a name's case for its own

    def index_statement(self, index: str, table: str, columns: str) -> None:
        return None  # the database may have none, or the dialect does not read them

    def error_message(self, error: BaseException | None) -> str:
        return " ".join(str(error).split())  # some say what is wrong in the lines that follow

    def error_meaning(self, error: BaseException | None) -> ErrorMeaning | None:
        state = _sqlstate(error)
        if state is not None:
            return _STATES.get(state) or _STATES.get(state[:2])
        # Of the DB-API's classes this one is for names and syntax that are wrong.
        wrong = any(each.__name__ == "ProgrammingError" for each in type(error).__mro__)
        return ErrorMeaning(_WHAT) if wrong else None


def _named(code: object) -> tuple[ColumnKind, type[Any]]:
    """The meaning of a type code: a type's name, an object that is written as one, or a class."""
    name = str(getattr(code, "__name__", None) or code).upper()
    return next(
        ((kind, type_) for sign, kind, type_ in _NAMES if re.match(sign, name)),
        (ColumnKind.ANY, sa.types.NullType),
    )


def _sqlstate(error: BaseException | None) -> str | None:
    first = error.args[0] if error is not None and error.args else None
    for code in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), first):
        if isinstance(code, str) and _SQLSTATE.fullmatch(code):
            return code
    return None


def _columns_of_result(
    connection: Connection, table: str, schema: str | None = None, **_: Any
) -> list[dict[str, Any]]:
    """The columns of a table as the inspector gives them, by what a SELECT says of them."""
    dialect: Any = connection.dialect
    rows = sa.select(sa.text("*")).select_from(sa.table(table, schema=schema)).where(sa.false())
    with connection.execute(rows) as result:
        assert result.cursor is not None  # a SELECT always has one  # noqa: S101
        found = [(str(column[0]), _named(column[1])[1]) for column in result.cursor.description]
    if dialect.requires_name_normalize:
        found = [(dialect.normalize_name(name), type_) for name, type_ in found]
    return [{"name": name, "type": type_(), "nullable": True} for name, type_ in found]


# What stands for a part of the catalog that a dialect cannot read.
_NOTHING: dict[str, object] = {
    "get_pk_constraint": {"name": None, "constrained_columns": []},
    "get_indexes": [],
    "get_multi_pk_constraint": {},
    "get_multi_indexes": {},
}


def _or_nothing(reflect: Callable[..., Any], nothing: object) -> Callable[..., Any]:
    def reflected(connection: Connection, *place: Any, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = reflect(connection, *place, **options)
                return found if isinstance(found, dict | list) else list(found)  # here it fails
        except (exc.SQLAlchemyError, NotImplementedError):
            connection.rollback()
            return nothing

    return reflected
