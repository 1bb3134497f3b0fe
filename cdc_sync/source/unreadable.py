"""Values that a driver cannot turn into Python: one such value must not fail a page of good rows.

psycopg raises DataError for `infinity`, dates BC, years above 9999 and the hour 24
(https://www.psycopg.org/psycopg3/docs/basic/adapt.html#date-time-types-adaptation).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that Python has no form for, as the database writes it."""

    text: str

    def __str__(self) -> str:
        return self.text


def never_raise_on_load(connection: Any) -> None:
    """Makes a psycopg connection give `Unreadable` where it would raise, and take it back."""
    import psycopg  # noqa: PLC0415  # only where the source is PostgreSQL
    from psycopg.adapt import Dumper, Loader  # noqa: PLC0415
    from psycopg.pq import Format  # noqa: PLC0415

    class UnreadableDumper(Dumper):
        def dump(self, obj: Unreadable) -> bytes:
            return obj.text.encode()

    connection.adapters.register_dumper(Unreadable, UnreadableDumper)
    for name in ("date", "timestamp", "timestamptz", "time", "timetz", "interval"):
        oid = psycopg.adapters.types[name].oid
        inner = psycopg.adapters.get_loader(oid, Format.TEXT)
        assert inner is not None  # psycopg always has these  # noqa: S101

        class SafeLoader(Loader):
            def __init__(self, oid: int, context: Any = None, _inner: Any = inner) -> None:
                super().__init__(oid, context)
                self._load = _inner(oid, context).load

            def load(self, data: Any) -> Any:
                try:
                    return self._load(data)
                except psycopg.DataError:
                    return Unreadable(bytes(data).decode())

        connection.adapters.register_loader(name, SafeLoader)
