"""The databases that a source may be, one module for each."""

from sqlalchemy.engine import URL

from cdc_sync.source.dialects.base import Dialect
from cdc_sync.source.dialects.generic import Generic
from cdc_sync.source.dialects.mssql import MSSQL
from cdc_sync.source.dialects.mysql import MySQL
from cdc_sync.source.dialects.oracle import Oracle
from cdc_sync.source.dialects.postgresql import PostgreSQL
from cdc_sync.source.dialects.sqlite import SQLite

#: By the backend's name in a SQLAlchemy URL.
DIALECTS: dict[str, Dialect] = {
    "postgresql": PostgreSQL(),
    "mysql": MySQL(),
    "mariadb": MySQL(),
    "sqlite": SQLite(),
    "mssql": MSSQL(),
    "oracle": Oracle(),
}
_OTHERS = Generic()


def dialect_of(url: URL) -> Dialect:
    """The room of the database at a URL that the configuration allows."""
    return DIALECTS.get(url.get_backend_name(), _OTHERS)
