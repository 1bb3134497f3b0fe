"""The SELECTs of a scan, built once from the configuration. Keyset pages, never OFFSET.

Only the database orders and compares keys, in the column's own collation. A page after the first is
one SELECT that compares row values; where the database uses no index for them it is read in legs:
the rest of the equal instants first, then the later ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, FromClause, Select, bindparam
from sqlalchemy.types import NullType

from cdc_sync.config.model import SourceConfig
from cdc_sync.source.dialects.base import Dialect, split_table

Row = tuple[object, ...]
Statement = Select[Any]
Legs = tuple[Statement, ...]  # to be read in this order until a page is full
IdForms = Sequence[Sequence[object]]  # of each part of an id, the values that it may be stored as
_TRUE: ColumnElement[Any] = sa.literal_column("1")
_FALSE: ColumnElement[Any] = sa.literal_column("0")


@dataclass(frozen=True, slots=True)
class PageStatements:
    """The SELECTs of a scan's first page and of a later one, in the order of `key`.

    `key` are places in a row: the values there are the parameters `after_0`, `after_1` … of the
    next page. `descends` finds the row `first_0`, `first_1` … of a page if it lies after those.
    """

    key: tuple[int, ...]
    first: Legs
    later: Legs
    descends: Statement


class Statements:
    """The SELECTs of one source; `columns` are those that the mapping reads.

    `types` are those of the key and the watermark, where the dialect wants them; `enums` the places
    of the key that are ENUMs. Every order, comparison and look-up of an id goes through `key`.
    """

    def __init__(
        self,
        config: SourceConfig,
        columns: Sequence[str],
        dialect: Dialect,
        types: Sequence[str],
        enums: Sequence[int],
    ) -> None:
        self.key: tuple[ColumnElement[Any], ...] = _columns(dialect, config.id)
        self.watermark: ColumnElement[Any] = _columns(dialect, [config.watermark])[0]
        self._ordered = (*self.key, self.watermark)
        self._types = types or [""] * len(self._ordered)
        self._dialect = dialect
        self._rows = _rows(config, dialect)
        self._in_where = [] if config.where is None else [_condition(config.where)]
        self._scope = [*(column.is_not(None) for column in self.key), *self._in_where]
        columns_read = _columns_read(config, columns, dialect, types)
        # What is sent back is read beside what is shown, where that would be compared otherwise.
        exact = {
            place: found
            for place, (column, type_) in enumerate(zip(self._ordered, self._types, strict=True))
            if (found := dialect.exact(column, type_)) is not None
        }
        # An ENUM is ordered by its number, and compared by it where it meets a number.
        exact |= {place: self.key[place] + _FALSE for place in enums}
        self._columns = [*columns_read, *exact.values()]
        self._after = {place: len(columns_read) + n for n, place in enumerate(exact)}
        self.in_scope = self._select(*self._scope)
        ids = tuple(range(len(self.key)))
        self.full = self._pages(ids)
        self.changed = self._pages((len(ids), *ids), self.stamped_from(_value("start")))

    def stamped_from(self, value: object) -> ColumnElement[bool]:
        """The condition that a row's stamp is a value, or later."""
        return self.watermark >= self._compared(len(self.key), value)

    def stamped_after(self, value: object) -> ColumnElement[bool]:
        """The condition that a row's stamp is later than a value."""
        return self.watermark > self._compared(len(self.key), value)

    def by_id(self, ids: Sequence[IdForms]) -> Statement:
        """The rows in scope with these ids."""
        return self._select(*self._scope, self._is_one_of(ids))

    def anywhere(self, ids: Sequence[IdForms]) -> Statement:
        """The rows with these ids, in scope or not, and whether they are."""
        return self._select(self._is_one_of(ids)).add_columns(_flag(sa.and_(*self._scope)))

    def count(self, *conditions: ColumnElement[bool]) -> Statement:
        """How many rows in scope meet the conditions."""
        return self._select(*self._scope, *conditions).with_only_columns(sa.func.count())

    def count_null_ids(self) -> Statement:
        """How many rows would be in scope if no part of their id were NULL."""
        null = sa.or_(*(column.is_(None) for column in self.key))
        return self._select(*self._in_where, null).with_only_columns(sa.func.count())

    def duplicate_ids(self, limit: int, *, as_texts: bool = False) -> Statement:
        """Ids in scope that several rows have, as the database compares them or as texts."""
        key = [sa.cast(column, sa.Text()) for column in self.key] if as_texts else self.key
        rows = self._select(*self._scope).with_only_columns(*key)
        return rows.group_by(*key).having(sa.func.count() > 1).limit(limit)

    def some_watermarks(self, limit: int) -> Statement:
        """Values of the watermark column that are not NULL, any."""
        rows = self._select(self.watermark.is_not(None))
        return rows.with_only_columns(self._shown_stamp(self.watermark)).limit(limit)

    def extremes(self) -> Statement:
        """The least and the greatest value of the watermark column, in or out of scope."""
        least, greatest = (
            sa.select(self._shown_stamp(f(self.watermark)))
            .select_from(self._rows)
            .scalar_subquery()
            for f in (sa.func.min, sa.func.max)
        )
        return sa.select(least, greatest)

    def greatest_number(self) -> Statement:
        """The greatest whole number in the watermark column."""
        greatest = self._shown_stamp(sa.func.max(self.watermark))
        query = self._select().with_only_columns(greatest)
        is_number = self._dialect.is_whole_number(self.watermark)
        return query if is_number is None else query.where(is_number)

    def _shown_stamp(self, stamp: ColumnElement[Any]) -> ColumnElement[Any]:
        return self._dialect.shown(stamp, self._types[-1])

    def _compared(self, place: int, value: object) -> ColumnElement[Any]:
        """A value, or a parameter, as it is compared with the key's or the watermark's column."""
        if not isinstance(value, ColumnElement):
            value = bindparam(None, value, type_=NullType())
        return self._dialect.compared(value, self._types[place])

    def _is_one_of(self, ids: Sequence[IdForms]) -> ColumnElement[bool]:
        places = range(len(self.key))
        return sa.or_(sa.false(), *(sa.and_(*map(self._has_form, places, one)) for one in ids))

    def _has_form(self, place: int, forms: Sequence[object]) -> ColumnElement[bool]:
        values = [self._compared(place, form) for form in forms]
        return sa.or_(sa.false(), *(self.key[place] == value for value in values))

    def _select(self, *conditions: ColumnElement[bool]) -> Statement:
        return sa.select(*self._columns).select_from(self._rows).where(*conditions)

    def _pages(self, key: tuple[int, ...], *from_: ColumnElement[bool]) -> PageStatements:
        order = [self._ordered[place] for place in key]
        after, first = (
            [self._compared(place, _value(f"{name}_{n}")) for n, place in enumerate(key)]
            for name in ("after", "first")
        )
        is_after = sa.or_(*(sa.and_(*leg) for leg in _later_conditions(order, after)))
        descends = self._select(*self._scope, *_equal(order, first), is_after)
        return PageStatements(
            tuple(self._after.get(place, place) for place in key),
            (self._page(order, *from_),),
            self._legs(order, after),
            descends.with_only_columns(_TRUE).limit(1),
        )

    def _page(
        self, order: Sequence[ColumnElement[Any]], *conditions: ColumnElement[bool]
    ) -> Statement:
        rows = self._select(*self._scope, *conditions).order_by(*order)
        return rows.limit(bindparam("page_size", type_=sa.Integer()))

    def _legs(
        self, order: Sequence[ColumnElement[Any]], after: Sequence[ColumnElement[Any]]
    ) -> Legs:
        if self._dialect.row_values_use_index:
            return (self._page(order, sa.tuple_(*order) > sa.tuple_(*after)),)
        legs = _later_conditions(order, after)
        return tuple(self._page(order[n:], *legs[n]) for n in reversed(range(len(order))))


def describe_rows(
    config: SourceConfig, columns: Sequence[str], dialect: Dialect, types: Sequence[str] = ()
) -> Statement:
    """The SELECT of no row, whose result has the types of the columns."""
    rows = sa.select(*_columns_read(config, columns, dialect, types)).select_from(
        _rows(config, dialect)
    )
    return rows.limit(0)


def no_row(config: SourceConfig, dialect: Dialect) -> Statement:
    """The SELECT of no row with every column that there is."""
    return sa.select(sa.text("*")).select_from(_rows(config, dialect)).limit(0)


def _columns_read(
    config: SourceConfig, columns: Sequence[str], dialect: Dialect, types: Sequence[str]
) -> list[ColumnElement[Any]]:
    ordered = _columns(dialect, [*config.id, config.watermark])
    *ids, stamp = map(dialect.shown, ordered, types or [""] * len(ordered))
    # Names of their own: to SQL Server and Oracle one that is read twice is ambiguous.
    return [
        *ids,
        stamp.label("cdc_sync_stamp"),
        _FALSE if config.deleted_when is None else _flag(_condition(config.deleted_when)),
        *(one.label(f"cdc_sync_value_{n}") for n, one in enumerate(_columns(dialect, columns))),
    ]


def named_table(table: str, dialect: Dialect) -> sa.TableClause:
    """A table or view that the configuration names."""
    schema, name = split_table(table)
    if schema is not None and "." not in schema:  # to SQL Server a dot parts it from its database
        schema = dialect.written(schema)
    return sa.table(dialect.written(name), schema=schema)


def _columns(dialect: Dialect, names: Sequence[str]) -> tuple[ColumnElement[Any], ...]:
    return tuple(sa.column(dialect.written(name)) for name in names)


def _rows(config: SourceConfig, dialect: Dialect) -> FromClause:
    if config.query is not None:
        # text() takes `:x` for a parameter, so every colon is escaped. Oracle knows no AS here.
        escaped = config.query.strip().rstrip(";").replace(":", r"\:")
        return sa.text(f"({escaped}\n) source_rows")  # type: ignore[return-value]
    return named_table(config.table or "", dialect)


def _value(name: str) -> ColumnElement[Any]:
    # No type: the driver sends a value back as it came, without a cast that could change it.
    return bindparam(name, type_=NullType())


def _condition(sql: str) -> ColumnElement[bool]:
    # literal_column() takes it as it stands, where text() would see parameters in `::` and ':x'.
    # As a Boolean it would be compared with 1 where the database has no such type.
    return sa.literal_column(f"({sql}\n)")


def _flag(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return sa.case((condition, _TRUE), else_=_FALSE)


def _later_conditions(
    order: Sequence[ColumnElement[Any]], after: Sequence[ColumnElement[Any]]
) -> list[list[ColumnElement[bool]]]:
    """Returns the ways to be later: greater in the first column, or equal there and so on."""
    return [[*_equal(order[:n], after[:n]), order[n] > after[n]] for n in range(len(order))]


def _equal(
    columns: Sequence[ColumnElement[Any]], values: Sequence[ColumnElement[Any]]
) -> list[ColumnElement[bool]]:
    return [column == value for column, value in zip(columns, values, strict=True)]
