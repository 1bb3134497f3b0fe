"""Typed values of the `control` table, one JSON document a key.

`load` and `save` take any type of `_KEYS`. Reading ignores fields that it does not know and gives
those that are missing their defaults, so that processes of two versions can share a state. A type
with a single field is stored as that field alone.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, get_type_hints

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from cdc_sync.errors import StateRefused
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.pace import SharedPace
from cdc_sync.rules.watermark import Horizon, Memory, Pair, Pairs, Remembered
from cdc_sync.state.tables import control
from cdc_sync.state.values import (
    Balance,
    DeliveryReport,
    Fingerprint,
    GuardRunNumber,
    HolderNumber,
    HoldReport,
    HorizonReport,
    Identity,
    Paused,
    PollReport,
    Presence,
    ProbeRequest,
    ReconcileDue,
    ReconcileReport,
    Request,
    Totals,
    UnjudgedRuns,
)

PAUSED = "paused"
RESUMED_AT = "resumed_at"  #: a person's word that the next probe is due
IDENTITY = "identity"  #: {base_url, client_id}: whom this state belongs to
SHAPE = "shape"  #: the hash of what shapes payloads, as of the last full scan
MEMORY = "memory"  #: what the next horizon must know of the last: {value, bounds, server, clocks}
RECONCILE_DUE = "reconcile_due"  #: since when a full scan is due that no schedule asked for
PAIR = "pair"  #: an integer column's greatest value and when: {value, at}
PACE = "pace"  #: when the next request may start
TOTALS = "totals"
API = "api"  #: how CustomerGauge treats us: {state, reason, since, paused_until}
DAEMON = "daemon"  #: the daemon's presence
LAST_POLL = "last_poll"
LAST_RECONCILE = "last_reconcile"
LAST_DELIVERY = "last_delivery"
BALANCE = "balance"
HOLD = "hold"  #: the latest run that was held, with numbers and examples
HOLDER = "holder"  #: the number of the latest process that captures
HORIZON = "horizon"  #: the last horizon, for status
ALERTS = "alerts"  #: {known, unsent}: what people were told of troubles, and what is on its way
_REQUEST = "request:"
_INSTANCE = "instance:"


_KEYS: Final[Mapping[type, str]] = {
    ApiStatus: "api",
    Balance: "balance",
    DeliveryReport: "last_delivery",
    Fingerprint: "shape",
    GuardRunNumber: "guard_last_run",
    HoldReport: "hold",
    HolderNumber: "holder",
    HorizonReport: "horizon",
    Identity: "identity",
    Memory: "memory",
    Pair: "pair",
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
_WRITE = {
    name: insert(control)
    .values(key=_KEY, value=sa.bindparam("text"))
    .on_conflict_do_update(index_elements=["key"], set_={"value": sa.bindparam("text")})
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
_REMOVE = sa.delete(control).where(control.c.key == _KEY)


def load(tx: Connection, kind: type[V], name: str | None = None) -> V | None:
    """Returns the stored value of this type, of this name where there are several; None for none.

    Raises StateRefused for a value that this version cannot read.
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


def load_named(tx: Connection, kind: type[V]) -> dict[str, V]:
    """Returns the stored values of this type by their names."""
    prefix = _PREFIXES[kind]
    rows = tx.execute(
        select(control.c.key, control.c.value).where(control.c.key.startswith(prefix))
    )
    return Snapshot({row[0]: row[1] for row in rows}).named(kind)


def save(tx: Connection, value: object, name: str | None = None) -> None:
    """Stores a value in place of the one before of its type and name."""
    key = _key(type(value), name)
    tx.execute(_WRITE[tx.dialect.name], {"name": key, "text": _encode(value)})


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
        raise StateRefused(
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


_GET = select(control.c.value).where(control.c.key == _KEY)
_GET_LOCKED = _GET.with_for_update()
_PUT = _WRITE


def get(tx: Connection, key: str, default: Any = None) -> Any:
    """The value by this name, or the default."""
    text = tx.execute(_GET, {"name": key}).scalar()
    return default if text is None else json.loads(text)


def get_all(tx: Connection) -> dict[str, Any]:
    """Every value by its name."""
    return {
        row[0]: json.loads(row[1]) for row in tx.execute(select(control.c.key, control.c.value))
    }


def get_locked(tx: Connection, key: str, default: Any = None) -> Any:
    """The value by this name, that nobody else changes before `tx` ends."""
    text = tx.execute(_GET_LOCKED, {"name": key}).scalar()
    if text is None and tx.dialect.name != "sqlite":
        # There is no row to lock: of two that make it the second one waits here, and then sees it.
        tx.execute(select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(key))))
        text = tx.execute(_GET_LOCKED, {"name": key}).scalar()
    return default if text is None else json.loads(text)


def clock(tx: Connection, now: datetime) -> datetime:
    """What the clock of the state's server says; on SQLite that is our own, `now`."""
    if tx.dialect.name == "sqlite":
        return now
    server: datetime = tx.execute(select(sa.func.clock_timestamp())).scalar_one()
    return server


def put(tx: Connection, key: str, value: Any) -> None:
    """Keeps a value; None removes it."""
    if value is None:
        tx.execute(sa.delete(control).where(control.c.key == key))
        return
    text = json.dumps(value, ensure_ascii=False)
    tx.execute(_PUT[tx.dialect.name], {"name": key, "text": text})


def add(tx: Connection, key: str, more: dict[str, int]) -> None:
    """Adds to counters that are kept under one name."""
    if more:
        counters = get_locked(tx, key, {})
        put(tx, key, {**counters, **{name: counters.get(name, 0) + n for name, n in more.items()}})


def next_holder(tx: Connection) -> int:
    """The number of a new process that captures; earlier ones may write no more."""
    number = int(get_locked(tx, HOLDER, 0)) + 1
    put(tx, HOLDER, number)
    return number


def holder(tx: Connection) -> int | None:
    """The number of the process that captures; a new one waits until `tx` ends."""
    text = tx.execute(_GET.with_for_update(read=True), {"name": HOLDER}).scalar()
    return None if text is None else int(json.loads(text))


def tell_instance(tx: Connection, name: str, presence: dict[str, Any] | None) -> None:
    """The presence of one of several daemons; None: it is gone."""
    put(tx, _INSTANCE + name, presence)


def forget_instances(tx: Connection, before: datetime) -> None:
    """Forgets the presences of daemons that were last seen before an instant."""
    rows = tx.execute(
        select(control.c.key, control.c.value).where(control.c.key.startswith(_INSTANCE))
    )
    for key, value in rows.all():
        if datetime.fromisoformat(json.loads(value)["beat_at"]) < before:
            put(tx, key, None)


def instances(kept: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The presences among all values, by name."""
    return {
        key.removeprefix(_INSTANCE): value
        for key, value in kept.items()
        if key.startswith(_INSTANCE)
    }


def ask(tx: Connection, name: str, kind: str, now: datetime) -> None:
    """Leaves a request for the running daemon; one of this name before it is forgotten."""
    request = {"id": uuid.uuid4().hex, "kind": kind, "at": now.isoformat(), "report": None}
    put(tx, _REQUEST + name, request)


def requests(tx: Connection) -> dict[str, dict[str, Any]]:
    """The requests that wait for an answer, by name."""
    rows = tx.execute(
        select(control.c.key, control.c.value).where(control.c.key.startswith(_REQUEST))
    )
    found = {row[0].removeprefix(_REQUEST): json.loads(row[1]) for row in rows}
    return {name: request for name, request in found.items() if request["report"] is None}


def answer(tx: Connection, name: str, request: dict[str, Any], report: dict[str, Any]) -> None:
    """The daemon's answer to a request, unless it was withdrawn or asked anew since."""
    asked = get(tx, _REQUEST + name)
    if asked is not None and asked["id"] == request["id"]:
        put(tx, _REQUEST + name, {**request, "report": report})


def drop_requests(tx: Connection, before: datetime) -> None:
    """Forgets what was asked before then: whoever asked has gone."""
    for name, request in requests(tx).items():
        if "at" not in request or datetime.fromisoformat(request["at"]) < before:
            withdraw(tx, name)


def is_asked(tx: Connection, name: str) -> bool:
    """Whether a request is there, answered or not."""
    return get(tx, _REQUEST + name) is not None


def peek_answer(tx: Connection, name: str) -> dict[str, Any] | None:
    """The answer to a request; None while there is none."""
    request = get(tx, _REQUEST + name)
    report: dict[str, Any] | None = request and request["report"]
    return report


def withdraw(tx: Connection, name: str) -> None:
    """Forgets a request and its answer."""
    put(tx, _REQUEST + name, None)


def remembered(tx: Connection) -> Remembered:
    """What the last horizon that was kept remembers."""
    stored, pair = get(tx, MEMORY), get(tx, PAIR)
    pairs = Pairs(pair and Pair(pair["value"], datetime.fromisoformat(pair["at"])))
    if stored is None:
        return Remembered(None, pairs)
    memory = Memory(
        value=stored["value"] and datetime.fromisoformat(stored["value"]),
        bounds={key: datetime.fromisoformat(bound) for key, bound in stored["bounds"].items()},
        server=stored["server"],
        clock=datetime.fromisoformat(stored["clock"]),
        ours=datetime.fromisoformat(stored["ours"]),
    )
    return Remembered(memory, pairs)


def keep_horizon(tx: Connection, horizon: Horizon) -> None:
    """Keeps what a later horizon must remember of this one."""
    memory, pair = horizon.remembered.memory, horizon.remembered.pairs.all
    if memory is not None:
        document = {
            "value": memory.value and memory.value.isoformat(),
            "bounds": {key: bound.isoformat() for key, bound in memory.bounds.items()},
            "server": memory.server,
            "clock": memory.clock.isoformat(),
            "ours": memory.ours.isoformat(),
        }
        put(tx, MEMORY, document)
    put(tx, PAIR, pair and {"value": pair.value, "at": pair.at.isoformat()})


def is_paused(tx: Connection) -> bool:
    """Returns whether a person has paused delivery."""
    return load(tx, Paused) == Paused(is_paused=True)
