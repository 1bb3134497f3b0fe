"""What persons and the daemon tell each other through the state: small JSON values by name."""

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from cdc_sync.rules.horizon import Memory
from cdc_sync.rules.watermark import Horizon, Pair, Pairs, Remembered
from cdc_sync.state.tables import control

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
HORIZON = "horizon"  #: the last horizon, for status
_REQUEST = "request:"

_KEY: sa.BindParameter[str] = sa.bindparam("name")
_GET = select(control.c.value).where(control.c.key == _KEY)
_PUT = sa.update(control).where(control.c.key == _KEY).values(value=sa.bindparam("text"))


def get(tx: Connection, key: str, default: Any = None) -> Any:
    """The value by this name, or the default."""
    text = tx.execute(_GET, {"name": key}).scalar()
    return default if text is None else json.loads(text)


def get_all(tx: Connection) -> dict[str, Any]:
    """Every value by its name."""
    return {
        row[0]: json.loads(row[1]) for row in tx.execute(select(control.c.key, control.c.value))
    }


def put(tx: Connection, key: str, value: Any) -> None:
    """Keeps a value; None removes it."""
    if value is None:
        tx.execute(sa.delete(control).where(control.c.key == key))
        return
    text = json.dumps(value, ensure_ascii=False)
    if tx.execute(_PUT, {"name": key, "text": text}).rowcount == 0:
        tx.execute(control.insert().values(key=key, value=text))


def add(tx: Connection, key: str, more: dict[str, int]) -> None:
    """Adds to counters that are kept under one name."""
    if more:
        counters = get(tx, key, {})
        put(tx, key, {**counters, **{name: counters.get(name, 0) + n for name, n in more.items()}})


def ask(tx: Connection, name: str, kind: str, options: dict[str, Any]) -> None:
    """Leaves a request of a command for the running daemon."""
    put(tx, _REQUEST + name, {"kind": kind, "options": options, "report": None})


def requests(tx: Connection) -> dict[str, dict[str, Any]]:
    """The requests that wait for an answer, by name."""
    rows = tx.execute(
        select(control.c.key, control.c.value).where(control.c.key.startswith(_REQUEST))
    )
    found = {row[0].removeprefix(_REQUEST): json.loads(row[1]) for row in rows}
    return {name: request for name, request in found.items() if request["report"] is None}


def answer(tx: Connection, name: str, report: dict[str, Any]) -> None:
    """The daemon's answer to a request."""
    request = get(tx, _REQUEST + name)
    if request is not None:
        put(tx, _REQUEST + name, {**request, "report": report})


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
