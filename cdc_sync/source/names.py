"""What the configuration names and the source has not: the key, the name, and the nearest one."""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.config.model import SourceConfig
from cdc_sync.errors import SourceMistake
from cdc_sync.source.dialects.base import Dialect, join_table, split_table
from cdc_sync.source.statements import no_row

_LISTED = 12  # names, where none is near


def expect_table(connection: Connection, config: SourceConfig) -> None:
    """Raises SourceMistake where the table is not there, with the nearest one."""
    if config.table is None:
        return
    schema, name = split_table(config.table)
    inspector = sa.inspect(connection)
    names = {
        *inspector.get_table_names(schema=schema),
        *inspector.get_view_names(schema=schema),
    }
    if name not in names:
        where = f"the schema {schema}" if schema else "the source"
        hint = _near(name, {join_table(None, one) for one in names})
        raise SourceMistake(f"source.table: {where} has no table {name}.", hint=hint)


def expect_columns(
    connection: Connection, config: SourceConfig, dialect: Dialect, fields: Mapping[str, str]
) -> None:
    """Raises SourceMistake where a column is not there, with its key and the nearest one.

    `fields` are the columns that the mapping reads, and the field that each is read for.
    """
    with connection.execute(no_row(config, dialect)) as result:
        names = list(result.keys())
    where = config.table or "the result of `source.query`"
    for key, name in _named(config, fields):
        if name not in names:
            raise SourceMistake(f"{key}: {where} has no column {name}.", hint=_near(name, names))


def _named(config: SourceConfig, fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from (("source.id", name) for name in config.id)
    yield "source.watermark", config.watermark
    yield from ((f"mapping.{field}", name) for name, field in fields.items())


def _near(name: str, names: Collection[str]) -> str:
    if near := get_close_matches(name.lower(), [one.lower() for one in names], n=1):
        return f"Did you mean {next(one for one in names if one.lower() == near[0])}?"
    listed = sorted(names)
    more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return f"There are: {', '.join(listed[:_LISTED]) or 'none'}{more}."
