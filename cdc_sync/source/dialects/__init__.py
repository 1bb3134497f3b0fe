"""The databases that a source may be, one module for each."""

from functools import cache
from importlib import import_module

from sqlalchemy.engine import URL

from cdc_sync.source.dialects.base import Dialect

#: By the backend's name in a SQLAlchemy URL: module and class, which are imported when asked for.
_ROOMS = {
    "postgresql": "postgresql:PostgreSQL",
    "mysql": "mysql:MySQL",
    "mariadb": "mysql:MySQL",
    "sqlite": "sqlite:SQLite",
    "mssql": "mssql:MSSQL",
    "oracle": "oracle:Oracle",
}
_ANY_OTHER = "generic:Generic"


def dialect_of(url: URL) -> Dialect:
    """The room of the database at a URL that the configuration allows."""
    return _room(_ROOMS.get(url.get_backend_name(), _ANY_OTHER))


@cache
def _room(place: str) -> Dialect:
    module, _, name = place.partition(":")
    room: Dialect = getattr(import_module(f"{__name__}.{module}"), name)()
    return room
