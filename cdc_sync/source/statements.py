"""The SELECTs of a scan, built once from the configuration. Keyset pages, never OFFSET.

Only the database orders and compares keys, in the column's own collation. A page after the first is
one SELECT that compares row values; where the database uses no index for them it is read in legs:
the rest of the equal instants first, then the later ones.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, FromClause, Select, bindparam
from sqlalchemy.types import NullType

from cdc_sync.config.model import SourceConfig
from cdc_sync.source.dialects.base import Dialect

Row = tuple[object, ...]
Statement = Select[Any]
Legs = tuple[Statement, ...]  # to be read in this order until a page is full


class Statements:
    """The SELECTs of one source; `columns` are those that the mapping reads."""

    def __init__(self, config: SourceConfig, columns: Sequence[str], dialect: Dialect) -> None:
        self.key: tuple[ColumnElement[Any], ...] = tuple(sa.column(name) for name in config.id)
        self.watermark: ColumnElement[Any] = sa.column(config.watermark)
        self._rows = _rows(config)
        self._scope: list[ColumnElement[bool]] = [column.is_not(None) for column in self.key]
        if config.where is not None:
            self._scope.append(_condition(config.where))
        self._columns = [
            *self.key,
            self.watermark,
            _gone_flag(config.deleted_when),
            *(sa.column(name) for name in columns),
        ]
        self._dialect = dialect
        self.changed_from = self._page(
            [self.watermark, *self.key], self.watermark >= _value("start")
        )
        self.changed_after = self._legs([self.watermark, *self.key])
        self.full_from = self._page([*self.key])
        self.full_after = self._legs([*self.key])
        self.described = (
            sa.select(*self._columns).select_from(self._rows).limit(sa.literal_column("0"))
        )

    def by_id(self, ids: Sequence[Sequence[object]]) -> Statement:
        """The rows in scope with these ids."""
        return self._select(self._scope).where(self._is_one_of(ids))

    def anywhere(self, ids: Sequence[Sequence[object]]) -> Statement:
        """The rows with these ids, in scope or not, and whether they are."""
        scope = sa.and_(*self._scope)
        flag = sa.case((scope, sa.literal_column("1")), else_=sa.literal_column("0"))
        return sa.select(*self._columns, flag).select_from(self._rows).where(self._is_one_of(ids))

    def count(self, *conditions: ColumnElement[bool]) -> Statement:
        """How many rows in scope meet the conditions."""
        return sa.select(sa.func.count()).select_from(self._rows).where(*self._scope, *conditions)

    def count_null_ids(self) -> Statement:
        """How many rows would be in scope if no part of their id were NULL."""
        rest = self._scope[len(self.key) :]
        null = sa.or_(*(column.is_(None) for column in self.key))
        return sa.select(sa.func.count()).select_from(self._rows).where(*rest, null)

    def duplicate_ids(self, limit: int, *, as_texts: bool = False) -> Statement:
        """Ids in scope that several rows have, as the database compares them or as texts."""
        key = [sa.cast(column, sa.Text()) for column in self.key] if as_texts else self.key
        return (
            sa.select(*key)
            .select_from(self._rows)
            .where(*self._scope)
            .group_by(*key)
            .having(sa.func.count() > 1)
            .limit(limit)
        )

    def some_watermarks(self, limit: int) -> Statement:
        """Values of the watermark column that are not NULL, any."""
        there = self.watermark.is_not(None)
        return sa.select(self.watermark).select_from(self._rows).where(there).limit(limit)

    def extremes(self) -> Statement:
        """The least and the greatest value of the watermark column, in or out of scope."""
        least, greatest = (
            sa.select(f(self.watermark)).select_from(self._rows).scalar_subquery()
            for f in (sa.func.min, sa.func.max)
        )
        return sa.select(least, greatest)

    def greatest_number(self) -> Statement:
        """The greatest whole number in the watermark column."""
        query = sa.select(sa.func.max(self.watermark)).select_from(self._rows)
        is_number = self._dialect.is_whole_number(self.watermark)
        return query if is_number is None else query.where(is_number)

    def _is_one_of(self, ids: Sequence[Sequence[object]]) -> ColumnElement[bool]:
        return sa.or_(
            sa.false(),
            *(
                sa.and_(
                    *(
                        column == bindparam(None, part, type_=NullType())
                        for column, part in zip(self.key, parts, strict=True)
                    )
                )
                for parts in ids
            ),
        )

    def _select(self, conditions: Sequence[ColumnElement[bool]]) -> Statement:
        return sa.select(*self._columns).select_from(self._rows).where(*conditions)

    def _page(
        self, order: Sequence[ColumnElement[Any]], *conditions: ColumnElement[bool]
    ) -> Statement:
        return (
            self._select([*self._scope, *conditions])
            .order_by(*order)
            .limit(bindparam("page_size", type_=sa.Integer()))
        )

    def _legs(self, order: Sequence[ColumnElement[Any]]) -> Legs:
        after = [_value(f"after_{place}") for place in range(len(order))]
        if self._dialect.row_values_use_index:
            return (self._page(order, sa.tuple_(*order) > sa.tuple_(*after)),)
        return tuple(
            self._page(
                order[place:],
                *(column == value for column, value in zip(order[:place], after, strict=False)),
                order[place] > after[place],
            )
            for place in reversed(range(len(order)))
        )


def _rows(config: SourceConfig) -> FromClause:
    if config.query is not None:
        # text() takes `:x` for a parameter, so every colon is escaped.
        escaped = config.query.strip().rstrip(";").replace(":", r"\:")
        return sa.text(f"({escaped}\n) AS source_rows")  # type: ignore[return-value]
    schema, _, name = (config.table or "").rpartition(".")
    return sa.table(name, schema=schema or None)


def _value(name: str) -> ColumnElement[Any]:
    # No type: the driver sends a value back as it came, without a cast that could change it.
    return bindparam(name, type_=NullType())


def _condition(sql: str) -> ColumnElement[bool]:
    # literal_column() takes it as it stands, where text() would see parameters in `::` and ':x'.
    return sa.literal_column(f"({sql}\n)", type_=sa.Boolean())


def _gone_flag(deleted_when: str | None) -> ColumnElement[Any]:
    if deleted_when is None:
        return sa.literal_column("0").label("cdc_sync_gone")
    return sa.case(
        (_condition(deleted_when), sa.literal_column("1")), else_=sa.literal_column("0")
    ).label("cdc_sync_gone")
