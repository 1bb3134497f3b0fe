"""A SQLite file, read through Python's own sqlite3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select
from sqlalchemy.dialects.sqlite.base import SQLiteIdentifierPreparer
from sqlalchemy.engine import URL, Engine
from sqlalchemy.types import NullType

from cdc_sync.errors import SourceUnavailable
from cdc_sync.files import is_hidden_or
from cdc_sync.rules.watermark import TransactionSnapshot, parse_whole_number
from cdc_sync.source.dialects import base
from cdc_sync.source.dialects.base import ColumnKind, DeclaredType, Dialect

_BYTES = ColumnKind.BYTES
_LOCKED_SECONDS = 30  # that a statement waits for a writer
_NO_DATABASE = base.ErrorMeaning(
    base.CHECK_URL, "The file {where} cannot be opened as a SQLite database.", is_mistake=False
)


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if str(number) == text else None


class SQLite(Dialect):
    """Cannot tell which transactions are open; its columns have no type, each value has its own."""

    name = "SQLite"
    ids_are_untyped = True
    kinds = {None: ColumnKind.ANY}
    clock_query = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"
    # By their words: sqlite3's own code is SQLITE_ERROR for all of them.
    errors = {
        "no such table": base.CHECK_TABLE,
        "no such column": base.CHECK_COLUMNS,
        "syntax error": base.CHECK_SYNTAX,
        "no such function": base.CHECK_SYNTAX,
        "not a database": _NO_DATABASE,
        "unable to open": _NO_DATABASE,
    }

    def keeps_connections(self, url: URL) -> bool:
        return False  # one that is kept goes on reading a file that was replaced by another since

    def connect_options(self, url: URL) -> tuple[URL, dict[str, Any]]:
        path = Path(url.database or "")
        if not is_hidden_or(path.is_file):
            message = f"The SQLite source {path} does not exist."
            raise SourceUnavailable(message, hint=base.CHECK_URL)
        # as_uri() quotes what a URI gives a meaning to, as `?` and `%`.
        read_only = {"mode": "ro", "uri": "true"}
        uri = URL.create("sqlite", database=path.resolve().as_uri(), query=read_only)
        return uri, {"timeout": _LOCKED_SECONDS, "check_same_thread": False}

    def prepare_engine(self, engine: Engine) -> None:
        # To SQLite a name in double quotes that no column has is a text: each row would have it.
        engine.dialect.identifier_preparer = SQLiteIdentifierPreparer(
            engine.dialect, initial_quote="`", escape_quote="`"
        )

    def prepare_session(self, connection: Any) -> str:
        # A text that is not UTF-8 must reject its row and not stop the page.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute("PRAGMA query_only = ON")
        return "UTC"

    def cancel(self, engine: Engine, connection: Any) -> None:
        connection.interrupt()

    def stored_forms(self, part: str, kind: ColumnKind) -> Sequence[object]:
        # A column has any of them beside each other, and 17 and '17' differ without affinity.
        fraction = _fraction(part)
        forms = (part, parse_whole_number(part), fraction, *super().stored_forms(part, _BYTES))
        return [form for form in forms if form is not None]

    def is_whole_number(self, column: ColumnElement[Any]) -> ColumnElement[bool] | None:
        return sa.func.typeof(column) == "integer"

    def open_transactions(self, connection: Connection, rows: Select[Any]) -> TransactionSnapshot:
        # A BEGIN IMMEDIATE would prove that no writer is open, and keep the next one out.
        why = "SQLite does not tell which transactions are unfinished"
        return TransactionSnapshot(self.clock(connection), unavailable_reason=why)

    def declared_type(self, type_: object) -> DeclaredType:
        if isinstance(type_, sa.String | NullType):
            return DeclaredType.ANY
        return super().declared_type(type_)
