"""Reads the source: pages of rows, each its own short transaction, on one connection a scan."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, exc
from sqlalchemy.engine import CursorResult, Engine

from cdc_sync.config.model import Config, SourceConfig
from cdc_sync.contract import (
    SourceId,
    SourceRow,
    WatermarkValue,
    decode_id,
    encode_id,
)
from cdc_sync.errors import SourceMistake, SourceUnavailable
from cdc_sync.rules.mapping import mapped_fields
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.source.columns import WatermarkColumn, detect_watermark_column, zone_of
from cdc_sync.source.dialects import dialect_of
from cdc_sync.source.dialects.base import CHECK_COLUMNS, CHECK_TABLE, ColumnKind
from cdc_sync.source.engine import open_source, translating_errors
from cdc_sync.source.names import expect_columns, expect_table
from cdc_sync.source.statements import (
    IdForms,
    Legs,
    PageStatements,
    Row,
    Statement,
    Statements,
    describe_rows,
)

IDS_ASKED_AT_ONCE = 200  # SQLite takes no condition of more than 1,000 terms
_MAY_BE_BYTES = {ColumnKind.BYTES, ColumnKind.ANY}
_NO_KEYS = {
    ColumnKind.REAL: "it shows fewer digits than it compares by",
    ColumnKind.BIT: "it shows bytes, and compares as a number",
}
# Of a value that is none of its column's; some drivers say so themselves.
_NO_VALUE = (exc.DataError, ValueError, OverflowError)
_TYPES = {
    ColumnKind.TIMESTAMPTZ: WatermarkType.TIMESTAMPTZ,
    ColumnKind.TIMESTAMP: WatermarkType.TIMESTAMP,
    ColumnKind.DATE: WatermarkType.DATE,
    ColumnKind.NUMBER: WatermarkType.INTEGER,
}


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows in order; `next` is where the next page starts, None after the last one."""

    rows: list[SourceRow]
    stamps: list[object]  #: the watermark column of each row, as the driver gives it
    end: WatermarkValue | None
    next: Row | None


class Source:
    """The source as configured; `fields` are the columns that the mapping reads, and for what."""

    def __init__(self, config: SourceConfig, fields: Mapping[str, str]) -> None:
        self.config = config
        self.fields = fields
        self.columns = tuple(fields)
        self._engine: Engine | None = None
        self._running: list[Any] = []  # the driver connections of the scans under way
        self._kinds: tuple[ColumnKind, ...] | None = None
        self._statements: tuple[Sequence[str], Statements] | None = None

    @contextmanager
    def scan(self) -> Iterator["Scan"]:
        """One connection for a whole scan; where it breaks, the scan ends.

        Raises SourceUnavailable, and SourceMistake for what the configuration names wrongly.
        """
        with translating_errors(self.engine), ExitStack() as opened:
            try:
                scan = Scan(opened.enter_context(self._connect()), self)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # It was ended while it was idle, and the pool has dropped all that are as old.
                opened.close()
                scan = Scan(opened.enter_context(self._connect()), self)
            yield scan

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            running = connection.connection.driver_connection
            self._running.append(running)
            try:
                yield connection
            finally:
                self._running.remove(running)

    @property
    def engine(self) -> Engine:
        """The engine, made at the first use. Raises SourceUnavailable."""
        if self._engine is None:
            self._engine = open_source(self.config.url.get_secret_value())
        return self._engine

    def cancel(self) -> None:
        """Cancels what every scan executes right now: it then raises SourceUnavailable."""
        for connection in tuple(self._running):
            with suppress(Exception):  # the process is about to end, and so is the connection
                dialect_of(self.engine.url).cancel(self.engine, connection)

    def close(self) -> None:
        """Closes every connection."""
        if self._engine is not None:
            self._engine.dispose()

    def check_kinds(self, kinds: tuple[ColumnKind, ...]) -> None:
        """Raises SourceMistake where a column has changed its type since this program started."""
        if self._kinds is None:
            self._kinds = kinds
        elif self._kinds != kinds:
            names = [*self.config.id, self.config.watermark, "deleted_when", *self.columns]
            changes = zip(names, self._kinds, kinds, strict=True)
            name, old, new = next(change for change in changes if change[1] != change[2])
            raise SourceMistake(
                f"The source's column {name} was {old.words} and is {new.words} now.",
                hint="If that is meant, restart cdc-sync.",
            )

    def statements(self, ids: tuple[ColumnKind, ...], types: Sequence[str]) -> Statements:
        """The SELECTs of every scan, for a key of these kinds, which no scan changes.

        `types` are those of the key and the watermark, where the dialect wants them. Raises
        SourceMistake for a column that no scan can go by.
        """
        if self._statements is None or self._statements[0] != types:
            for name, kind in zip(self.config.id, ids, strict=True):
                if reason := _NO_KEYS.get(kind):
                    hint = "Give `source.id` columns of another type, or cast it in `source.query`."
                    raise SourceMistake(
                        f"The column {name} cannot be in the id: {reason}.", hint=hint
                    )
            enums = [place for place, kind in enumerate(ids) if kind is ColumnKind.ENUM]
            dialect = dialect_of(self.engine.url)
            made = Statements(self.config, self.columns, dialect, types, enums)
            self._statements = types, made
        return self._statements[1]


def source_of(config: Config) -> Source:
    """Returns the source of a configuration, with the columns that its mapping reads."""
    return Source(config.source, mapped_fields(config.mapping))


class Scan:
    """One connection to the source, used by one thread."""

    def __init__(self, connection: Connection, source: Source) -> None:
        self._source = source
        self._ids = len(source.config.id)
        self.connection = connection
        self.config = source.config
        self.dialect = dialect_of(connection.engine.url)
        self._columns = slice(self._ids + 2, self._ids + 2 + len(source.columns))
        try:
            types, kinds = self._described()
        except exc.DBAPIError as error:
            self._expect_names(error)
            raise
        self._id_kinds = kinds[: self._ids]
        self.statements = source.statements(self._id_kinds, types)
        self.watermark_type = types[-1] if types else ""  #: as the database calls it, if it matters
        # A part of the id is the same text in a payload as in the id.
        of_bytes = {
            n for n, kind in zip(self.config.id, kinds, strict=False) if kind in _MAY_BE_BYTES
        }
        self._bytes = {place for place, name in enumerate(source.columns) if name in of_bytes}
        self.zone: ZoneInfo = zone_of(str(connection.info["zone"]), self.config.time_zone)
        self.column = self._watermark_column(kinds[self._ids])
        self._read_again: Callable[[], RowPage] | None = None  # of the last page that had rows
        self._just_read: set[SourceId] = set()

    def _expect_names(self, error: exc.DBAPIError) -> None:
        """Raises SourceMistake for the name that the database does not know, with its key."""
        meaning = self.dialect.error_meaning(error.orig)
        if meaning is CHECK_TABLE:
            expect_table(self.connection, self.config)
        if meaning is CHECK_COLUMNS:
            expect_columns(self.connection, self.config, self.dialect, self._source.fields)

    def changed_page(self, start: WatermarkValue, after: Row | None) -> RowPage:
        """The next page in order of (watermark, id), from the watermark on."""
        return self._page(self.statements.changed, after, start=self.column.bound(start))

    def full_page(self, after: Row | None) -> RowPage:
        """The next page of the whole source, in order of its id."""
        return self._page(self.statements.full, after)

    def existing(self, ids: Collection[SourceId]) -> list[SourceRow]:
        """The rows in scope with these ids."""
        wanted, rows = list(ids), list[SourceRow]()
        for first in range(0, len(wanted), IDS_ASKED_AT_ONCE):
            rows += self._with_ids(wanted[first : first + IDS_ASKED_AT_ONCE])
        return rows

    def _with_ids(self, ids: Sequence[SourceId]) -> list[SourceRow]:
        forms = [forms for source_id in ids if (forms := self._stored_forms(source_id))]
        try:
            found = self._read(self.statements.by_id(forms))
        except _NO_VALUE:
            # One that is no value of the id's column, which was another, is no row's.
            half = len(ids) // 2
            return self._with_ids(ids[:half]) + self._with_ids(ids[half:]) if half else []
        return [row for row in map(self._row, found) if row.source_id in set(ids)]

    def expect_found_by_id(self) -> None:
        """Raises SourceMistake where a row of the last page is not found by its id, and is there.

        This guards against keys whose values do not compare equal to what was read of them: such
        rows would seem to be gone. What was found once is not asked for again.
        """
        if self._read_again is None:
            return
        lost = self._just_read - {row.source_id for row in self.existing(self._just_read)}
        if lost:
            lost &= {row.source_id for row in self._read_again().rows}
        if lost:
            raise SourceMistake(
                f"Rows that were just read are not found by their id, such as {min(lost)}:"
                " nothing can be called gone.",
                hint="Give `source.id` columns whose values compare equal to themselves.",
            )
        self._read_again = None

    def find(self, source_id: str) -> tuple[SourceRow, object, bool] | None:
        """A row by its id, in scope or not: the row, its raw watermark, whether it is in scope."""
        forms = self._stored_forms(source_id)
        statement = self.statements.anywhere([forms] if forms else [])
        try:
            rows = self.connection.execute(statement).all()
        except _NO_VALUE:
            return None  # a reference, or a typing error: no value of the id's column at all
        for raw in map(tuple, rows):
            row = self._row(raw[:-1])
            if row.source_id == source_id:
                return row, raw[self._ids], bool(raw[-1])
        return None

    def count_from(self, value: WatermarkValue | None) -> int:
        """How many rows a poll that starts at this watermark would read; None: every row."""
        if value is None:
            return self.count()
        return self.count(self.statements.stamped_from(self.column.bound(value)))

    def count_after(self, stamp: object) -> int:
        """How many rows are stamped later than a raw value of the watermark column."""
        return self.count(self.statements.stamped_after(stamp))

    def count(self, *conditions: ColumnElement[bool]) -> int:
        """How many rows in scope meet the conditions."""
        return int(self.connection.execute(self.statements.count(*conditions)).scalar_one())

    def newest_stamp(self) -> object:
        """The greatest raw value of the watermark column; None where there is none."""
        _, greatest = tuple(self.connection.execute(self.statements.extremes()).one())
        return greatest

    def count_null_ids(self) -> int:
        """How many rows have a NULL in their id, so that no contract can be made of them."""
        return int(self.connection.execute(self.statements.count_null_ids()).scalar_one())

    def _page(self, pages: PageStatements, after: Row | None, **given: object) -> RowPage:
        given |= {f"after_{place}": value for place, value in enumerate(after or ())}
        rows = self._fill(pages.first if after is None else pages.later, given)
        if not rows:
            return RowPage([], [], None, None)
        last = rows[-1]
        end = tuple(last[place] for place in pages.key)
        if end == after:
            names = [*self.config.id, self.config.watermark]
            column = ", ".join(names[place] for place in pages.key if place < len(names))
            raise SourceUnavailable(
                f"The driver cuts digits of {column}, so that a page never ends.",
                hint="Give `source.watermark` a column with no more than six digits of a second.",
            )
        is_full = len(rows) >= self.config.page_size
        if is_full:
            self._expect_ascending(pages, tuple(rows[0][place] for place in pages.key), end)
        read = [self._row(row) for row in rows]
        self._just_read = {row.source_id for row in read}
        self._read_again = partial(self._page, pages, after, **given)
        return RowPage(
            rows=read,
            stamps=[row[self._ids] for row in rows],
            end=self.column.value_of(last[self._ids]),
            next=end if is_full else None,
        )

    def _expect_ascending(self, pages: PageStatements, first: Row, last: Row) -> None:
        """Raises SourceMistake where the database compares otherwise than it orders.

        The next page begins after the last row, so that rows before it would never be read.
        """
        given = {f"after_{place}": value for place, value in enumerate(last)}
        given |= {f"first_{place}": value for place, value in enumerate(first)}
        if self.connection.execute(pages.descends, given).first() is not None:
            raise SourceMistake(
                "The database orders its rows by the key otherwise than it compares them,"
                f" so that pages would leave rows out: {encode_id(first)} … {encode_id(last)}.",
                hint="Give `source.id` and `source.watermark` columns of another type.",
            )

    def _fill(self, legs: Legs, given: dict[str, object]) -> list[Row]:
        """Reads leg after leg until a page is full."""
        rows: list[Row] = []
        for statement in legs:
            room = self.config.page_size - len(rows)
            if room <= 0:
                break
            rows += self._read(statement, {**given, "page_size": room})
        return rows

    def _read(self, statement: Statement, given: dict[str, object] | None = None) -> list[Row]:
        result = self.connection.execute(statement, given)
        self._source.check_kinds(self._kinds(result))
        rows = [tuple(row) for row in result.all()]  # row by row it would be half as fast
        self.connection.rollback()  # where a transaction stays open it sees nothing newer
        return rows

    def _kinds(self, result: CursorResult[Any]) -> tuple[ColumnKind, ...]:
        assert result.cursor is not None  # a SELECT always has one  # noqa: S101
        return self.dialect.column_kinds(result.cursor)[: self._columns.stop]

    def _row(self, raw: Row) -> SourceRow:
        ids = self._ids
        values = raw[self._columns]
        if self._bytes:
            values = tuple(
                value.hex() if place in self._bytes and isinstance(value, bytes) else value
                for place, value in enumerate(values)
            )
        return SourceRow(encode_id(raw[:ids]), bool(raw[ids + 1]), values)

    def _stored_forms(self, source_id: str) -> IdForms:
        """The values of each part of an id; empty where it is no row's."""
        parts = decode_id(source_id, self._ids) or ()
        forms = list(map(self.dialect.stored_forms, parts, self._id_kinds))
        return forms if all(forms) else []

    def _described(self) -> tuple[Sequence[str], tuple[ColumnKind, ...]]:
        described = partial(describe_rows, self.config, self._source.columns, self.dialect)
        types = self.dialect.column_types(self.connection, described())[: self._ids + 1]
        with self.connection.execute(described(types)) as result:
            kinds = self._kinds(result)
        self._source.check_kinds(kinds)
        declared = [
            self.dialect.kind_of(type_) or kind for type_, kind in zip(types, kinds, strict=False)
        ]
        return types, (*declared, *kinds[len(declared) :])

    def _watermark_column(self, kind: ColumnKind) -> WatermarkColumn:
        sent_zone: tzinfo = UTC
        if kind in (ColumnKind.ANY, ColumnKind.TIME):
            value = self.connection.execute(self.statements.some_watermarks(1)).scalar()
            kind = _kind_of_value(value, kind)
            # Some drivers take no other zone than the one that they give.
            sent_zone = getattr(value, "tzinfo", None) or UTC
        if kind is ColumnKind.ANY:
            return detect_watermark_column(self.connection, self.statements, self.zone)
        if kind not in _TYPES:
            raise SourceMistake(
                f"The column {self.config.watermark} holds neither times nor whole numbers.",
                hint="Name one in `source.watermark` that grows with every change.",
            )
        naive = None if kind is ColumnKind.TIMESTAMPTZ else self.zone
        return WatermarkColumn(_TYPES[kind], self.zone, naive, sent_zone=sent_zone)


def _kind_of_value(value: object, kind: ColumnKind) -> ColumnKind:
    """The kind of the watermark column by a value of it, as far as that says more."""
    if isinstance(value, datetime):
        return ColumnKind.TIMESTAMPTZ if value.tzinfo else ColumnKind.TIMESTAMP
    if isinstance(value, date):
        return ColumnKind.DATE
    if isinstance(value, Decimal):
        return ColumnKind.NUMBER
    return ColumnKind.TIMESTAMP if kind is ColumnKind.TIME else kind
