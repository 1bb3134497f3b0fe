"""Rows of a source, the same on every database: a table made and changed through SQLAlchemy."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, oracle
from sqlalchemy.types import TypeDecorator, TypeEngine

FIREBIRD = "firebird.firebird"  # its dialect's name


class _InUTC(TypeDecorator[datetime]):
    """A time without zone: Firebird's driver takes no zone but its own."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value and value.astimezone(UTC).replace(tzinfo=None)


#: With digits of a second, and with a zone where the database has one (MySQL: an instant).
INSTANT = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(oracle.TIMESTAMP(timezone=True), "oracle")
    .with_variant(_InUTC(), FIREBIRD)
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)  # a stamp that every horizon has passed


class Rows:
    """The table `contracts` of a source, or one of another name and other columns."""

    def __init__(self, url: str, *columns: sa.Column[Any], name: str = "contracts") -> None:
        """Makes the table; further columns, or others of the same name."""
        self.url = url
        all_columns = {column.name: column for column in (*_columns(), *columns)}
        self.table = sa.Table(name, sa.MetaData(), *all_columns.values())
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        self._stamp = datetime.now(UTC)
        self.table.metadata.create_all(self._engine)

    def add(self, *rows: dict[str, Any]) -> None:
        """Inserts rows; what a row leaves out is valid, and its stamp is later than all before."""
        with self._engine.begin() as tx:
            tx.execute(self.table.insert(), [self._whole(row) for row in rows])

    def change(self, row_id: object, **values: Any) -> None:
        """Updates a row and its stamp; without values it is a touch."""
        self._execute(sa.update(self.table), row_id, self._stamped(values))

    def change_unstamped(self, row_id: object, **values: Any) -> None:
        """Updates a row whose stamp nobody moves."""
        self._execute(sa.update(self.table), row_id, values)

    def touch_all(self) -> None:
        """Gives every row a new stamp, and nothing else."""
        self.execute(sa.update(self.table).values(self._stamped({})))

    def remove(self, *row_ids: object) -> None:
        """Deletes rows; all where none is named."""
        which = [self.table.c.id.in_(row_ids)] if row_ids else []
        self.execute(sa.delete(self.table).where(*which))

    def rename_column(self, old: str, new: str) -> None:
        """Gives a column another name."""
        if self._engine.dialect.name == "mssql":
            self.execute(f"EXEC sp_rename '{self.table.name}.{old}', '{new}', 'COLUMN'")
            return
        if self._engine.dialect.name == "duckdb":  # it cannot in a table with an index
            self.execute(f"DROP INDEX IF EXISTS ix_{self.table.name}_updated_at")
        verb = "ALTER" if self._engine.dialect.name == FIREBIRD else "RENAME"
        self.execute(f"ALTER TABLE {self.table.name} {verb} COLUMN {old} TO {new}")

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction of the source's own application, open as long as the test wants."""
        with self._engine.begin() as tx:
            yield tx

    def execute(self, statement: sa.Executable | str) -> None:
        """Anything else, as the source's own application would do it."""
        with self._engine.begin() as tx:
            if isinstance(statement, str):
                tx.exec_driver_sql(statement)
            else:
                tx.execute(statement)

    def _execute(self, statement: sa.Update, row_id: object, values: dict[str, Any]) -> None:
        self.execute(statement.where(self.table.c.id == row_id).values(values))

    def _whole(self, row: dict[str, Any]) -> dict[str, Any]:
        whole = {**_defaults(row), **self._stamped(row)}
        return {name: value for name, value in whole.items() if name in self.table.c}

    def _stamped(self, values: dict[str, Any]) -> dict[str, Any]:
        if "updated_at" in values or "updated_at" not in self.table.c:
            return values
        self._stamp = max(datetime.now(UTC), self._stamp + timedelta(microseconds=1))
        return {**values, "updated_at": self._stamp}


def _defaults(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "account_name": f"Account {row['id']}",
        "start_date": date(2024, 1, 1),
        "end_date": None,
        "plan": "Gold",
    }


@contextmanager
def rows_in(url: str, *columns: sa.Column[Any], name: str = "contracts") -> Iterator[Rows]:
    """Rows in the database at a URL."""
    yield Rows(url, *columns, name=name)


def _columns() -> list[sa.Column[Any]]:
    text: TypeEngine[str] = sa.String(400)
    return [
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account_name", text),
        sa.Column("start_date", sa.Date),
        sa.Column("end_date", sa.Date),
        sa.Column("plan", text),
        sa.Column("updated_at", INSTANT, index=True),
    ]
