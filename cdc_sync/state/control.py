"""Typed values of the `control` table, one JSON document a key.

`load` and `save` take any type of `_KEYS`. Reading ignores fields that it does not know and gives
those that are missing their defaults, so that processes of two versions can share a state. A type
with a single field is stored as that field alone.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, get_type_hints

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from cdc_sync.errors import StateUnreadable
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.pace import SharedPace
from cdc_sync.rules.watermark import HorizonState, Sample
from cdc_sync.state.database import Database
from cdc_sync.state.tables import control
from cdc_sync.state.values import (
    PAUSED,
    AlertMemory,
    Balance,
    CookieKey,
    DeliveryReport,
    Fingerprint,
    GuardRunNumber,
    HolderNumber,
    HoldReport,
    HorizonReport,
    Identity,
    LateReport,
    NumberSamples,
    Paused,
    PollReport,
    Presence,
    ProbeRequest,
    ReconcileDue,
    ReconcileReport,
    Request,
    Sweeps,
    Totals,
    UnjudgedRuns,
)

_KEYS: Final[Mapping[type, str]] = {
    AlertMemory: "alerts",
    ApiStatus: "api",
    Balance: "balance",
    CookieKey: "cookie_key",
    DeliveryReport: "last_delivery",
    Fingerprint: "shape",
    GuardRunNumber: "guard_last_run",
    HoldReport: "hold",
    HolderNumber: "holder",
    HorizonReport: "horizon",
    Identity: "identity",
    LateReport: "late",
    NumberSamples: "sweep_samples",
    Sweeps: "sweeps",
    HorizonState: "memory",
    Sample: "pair",
    Paused: "paused",
    PollReport: "last_poll",
    Presence: "daemon",  # of the daemon that captures
    ProbeRequest: "resumed_at",
    ReconcileDue: "reconcile_due",
    ReconcileReport: "last_reconcile",
    SharedPace: "pace",
    Totals: "totals",
    UnjudgedRuns: "guard_waiting_runs",
}
#: Types of which there is one value for each name.
_PREFIXES: Final[Mapping[type, str]] = {Presence: "instance:", Request: "request:"}

V = TypeVar("V")

_KEY: sa.BindParameter[str] = sa.bindparam("name")
_READ = select(control.c.value).where(control.c.key == _KEY)
_READ_SHARED = _READ.with_for_update(read=True)
_READ_LOCKED = _READ.with_for_update()
_WRITE = sa.text(
    "INSERT INTO control (key, value) VALUES (:name, :text)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
_REMOVE = sa.delete(control).where(control.c.key == _KEY)


def load(tx: Connection, kind: type[V], name: str | None = None) -> V | None:
    """Returns the stored value of this type, of this name where there are several; None for none.

    Raises StateUnreadable for a value that this version cannot read.
    """
    return _read(tx, _READ, kind, _key(kind, name))


def load_locked(tx: Connection, kind: type[V]) -> V | None:
    """Returns the stored value as `load`, and lets nobody else change it before `tx` ends."""
    key = _key(kind)
    found = _read(tx, _READ_LOCKED, kind, key)
    if found is None and tx.dialect.name != "sqlite":
        # There is no row to lock: of two that make it the second one waits here, and then sees it.
        tx.execute(select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(key))))
        found = _read(tx, _READ_LOCKED, kind, key)
    return found


def load_shared(tx: Connection, kind: type[V]) -> V | None:
    """Returns the stored value as `load`; whoever changes it waits until `tx` ends."""
    return _read(tx, _READ_SHARED, kind, _key(kind))


def save(tx: Connection, value: object, name: str | None = None) -> None:
    """Stores a value in place of the one before of its type and name."""
    key = _key(type(value), name)
    tx.execute(_WRITE, {"name": key, "text": _encode(value)})


def remove(tx: Connection, kind: type, name: str | None = None) -> None:
    """Removes the stored value of this type and name."""
    tx.execute(_REMOVE, {"name": _key(kind, name)})


class Snapshot:
    """All stored values as of one moment, each decoded when it is asked for."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def load(self, kind: type[V]) -> V | None:
        """Returns the value of this type; None where there is none."""
        text = self._texts.get(_key(kind))
        return None if text is None else _decode(kind, _key(kind), text)

    def named(self, kind: type[V]) -> dict[str, V]:
        """Returns the values of this type by their names."""
        prefix = _PREFIXES[kind]
        return {
            key.removeprefix(prefix): _decode(kind, key, text)
            for key, text in self._texts.items()
            if key.startswith(prefix)
        }


def read_snapshot(tx: Connection) -> Snapshot:
    """Reads all stored values at once."""
    rows = tx.execute(select(control.c.key, control.c.value))
    return Snapshot({row[0]: row[1] for row in rows})


def _key(kind: type, name: str | None = None) -> str:
    return _KEYS[kind] if name is None else _PREFIXES[kind] + name


def _read(tx: Connection, query: sa.Select[Any], kind: type[V], key: str) -> V | None:
    text = tx.execute(query, {"name": key}).scalar()
    return None if text is None else _decode(kind, key, text)


def _encode(value: Any) -> str:
    kind: Any = type(value)
    only = _only_field(kind)
    stored = value if only is None else getattr(value, only)
    return _adapter(kind).dump_json(stored).decode()


def _decode(kind: Any, key: str, text: str) -> Any:
    try:
        stored = _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise StateUnreadable(
            f"The state's `{key}` cannot be read: {error.errors()[0]['msg']}.",
            hint="Use the version of cdc-sync that wrote it, or a newer one.",
        ) from None
    return stored if _only_field(kind) is None else kind(stored)


@cache  # a schema takes about a millisecond to build: a command pays for what it reads
def _adapter(kind: Any) -> TypeAdapter[Any]:
    only = _only_field(kind)
    return TypeAdapter(kind if only is None else get_type_hints(kind)[only])


@cache
def _only_field(kind: Any) -> str | None:
    names = [one.name for one in fields(kind)]
    return names[0] if len(names) == 1 else None


def add_to_totals(tx: Connection, more: Mapping[str, int]) -> None:
    """Adds to the totals of these outcomes."""
    if more:
        before = (load_locked(tx, Totals) or Totals()).counts
        added = {kind: before.get(kind, 0) + count for kind, count in more.items()}
        save(tx, Totals({**before, **added}))


def is_paused(tx: Connection) -> bool:
    """Returns whether a person has paused delivery."""
    return load(tx, Paused) == PAUSED


def cookie_key(state: Database) -> bytes:
    """Returns the key of the page's cookies, which is made once for a state."""
    with state.read() as tx:
        found = load(tx, CookieKey)
    if found is None:
        with state.begin() as tx:
            found = load_locked(tx, CookieKey) or CookieKey(secrets.token_hex(32))
            save(tx, found)
    return bytes.fromhex(found.key)


def remove_presences(tx: Connection, before: datetime) -> None:
    """Removes the presences of daemons whose last sign of life was before an instant."""
    for name, presence in read_snapshot(tx).named(Presence).items():
        if presence.beat_at < before:
            remove(tx, Presence, name)


def ask(tx: Connection, name: str, kind: str, now: datetime) -> None:
    """Leaves a request for the running daemon in place of the one before of this name."""
    save(tx, Request(uuid.uuid4().hex, kind, now), name)


def unanswered_requests(tx: Connection) -> dict[str, Request]:
    """Returns the requests that wait for an answer by their names."""
    requests = read_snapshot(tx).named(Request)
    return {name: request for name, request in requests.items() if request.report is None}


def answer(tx: Connection, name: str, request: Request, report: dict[str, Any]) -> None:
    """Stores the answer to a request, unless it was withdrawn or replaced since."""
    asked = load(tx, Request, name)
    if asked is not None and asked.id == request.id:
        save(tx, replace(asked, report=report), name)


def remove_abandoned_requests(tx: Connection, before: datetime) -> None:
    """Removes the requests from before an instant: whoever asked has gone."""
    for name, request in unanswered_requests(tx).items():
        if request.at is None or request.at < before:
            remove(tx, Request, name)
