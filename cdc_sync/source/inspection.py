"""Facts about the source for `check`: its index on the watermark."""

import sqlalchemy as sa
from sqlalchemy import Connection

from cdc_sync.config.model import SourceConfig


def has_watermark_index(connection: Connection, config: SourceConfig) -> bool | None:
    """Whether an index begins with (watermark, id); None where nothing can be said (a query)."""
    if config.table is None:
        return None
    schema, _, table = config.table.rpartition(".")
    inspector = sa.inspect(connection)
    if table not in inspector.get_table_names(schema=schema or None):
        return None  # a view: its tables' indexes count
    wanted = [config.watermark, *config.id]
    indexes = [
        index["column_names"] for index in inspector.get_indexes(table, schema=schema or None)
    ]
    return any(list(columns[: len(wanted)]) == wanted for columns in indexes)


def index_statement(backend: str, config: SourceConfig) -> str:
    """The SQL that makes the index which a poll wants."""
    columns = ", ".join([config.watermark, *config.id])
    if backend == "postgresql":
        return f"CREATE INDEX CONCURRENTLY ON {config.table} ({columns});"
    name = f"{(config.table or '').rpartition('.')[2]}_{config.watermark}"
    return f"CREATE INDEX {name} ON {config.table} ({columns});"
