"""The status document and the troubles in it, read from the state alone.

Every view of the system is made of this one document: `status`, the page, metrics and alerts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from cdc_sync.config.fields import second_due
from cdc_sync.config.model import Config
from cdc_sync.config.units import Rate
from cdc_sync.contract import Payload, Status, fields_of
from cdc_sync.rules.gate import ApiStatus
from cdc_sync.rules.pace import Pace, SharedPace
from cdc_sync.rules.watermark import Watermark, lag_seconds, write_watermark
from cdc_sync.state import contracts, control, history, holds, lookup, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.history import STOPPED
from cdc_sync.state.lease import has_ended
from cdc_sync.state.values import (
    PAUSED,
    Balance,
    DeliveryReport,
    HoldReport,
    HorizonReport,
    LateReport,
    Paused,
    PollReport,
    Presence,
    ReconcileReport,
    Totals,
)
from cdc_sync.wording import format_count, format_instant, format_seconds

KINDS = ["created", "updated", "recreated", "adopted", "unchanged", "rejected", "retried", "late"]
LATE_FOR = timedelta(days=1)  # how long status tells of late changes
POLLS_MISSED = 3  # intervals without a good poll after which it is not well
PRESENCE_GOOD_FOR = timedelta(seconds=10)


def read_status(state: Database, now: datetime, limit: Rate | None = None) -> dict[str, Any]:
    """Returns `status --json`, key for key, and a few more keys for the page and for alerts.

    `limit` is the configured rate, of which a 429 may have left less.
    """
    with state.read() as tx:
        stored = control.read_snapshot(tx)
        mark = watermark.read(tx)
        counts = contracts.count_by_status(tx)
        examples = holds.list_examples(tx) if counts[Status.HELD] else []
        accounts = missing_accounts(tx) if counts[Status.WAITING] else []
        late = history.count_late(tx, now - LATE_FOR)
    horizon = stored.load(HorizonReport) or HorizonReport()
    presence = stored.load(Presence)
    totals = (stored.load(Totals) or Totals()).counts
    return {
        "daemon": _daemon(presence, now),
        "paused": stored.load(Paused) == PAUSED,
        "watermark": {
            **watermark_document(mark, horizon),
            "lag_seconds": lag_seconds(
                watermark.read_to(mark, horizon), horizon.clock, horizon.taken_at, now
            ),
        },
        "missing_accounts": accounts,
        "contracts": {status.value: counts[status] for status in Status},
        "last_poll": _poll(stored.load(PollReport), now),
        "last_reconcile": _reconcile(stored.load(ReconcileReport), now),
        "late": _late(*late, stored.load(LateReport)),
        "last_delivery": document_of(stored.load(DeliveryReport)),
        "hold": hold_document(stored.load(HoldReport), counts[Status.HELD], examples),
        "balance": document_of(stored.load(Balance)),
        "totals": {kind: totals.get(kind, 0) for kind in KINDS},
        "api": {
            **document_of(stored.load(ApiStatus) or ApiStatus()),
            "slowed_to": _slowed_to(stored.load(SharedPace), now, limit),
            "token_expires": format_instant(presence.token_expires if presence else None),
        },
        "instances": _instances(stored.named(Presence).values(), now),
    }


def watermark_document(known: Watermark, horizon: HorizonReport) -> dict[str, Any]:
    """Returns the keys that `status --json` and `watermark show --json` share."""
    return {
        "value": write_watermark(known.value),
        "type": known.type and known.type.value,
        "version": known.version,
        "horizon": horizon.horizon,
        "basis": horizon.basis,
        "basis_reason": horizon.basis_reason,
        "basis_hint": horizon.basis_hint,
        "read_to": write_watermark(watermark.read_to(known, horizon)),
        "held_back_by": horizon.held_back_by,
    }


def missing_accounts(tx: Connection) -> list[str]:
    """Returns the accounts that contracts wait for, of so many contracts as are looked at."""
    stuck = lookup.list_stuck(tx, Status.WAITING, ACCOUNTS_READ)
    names = (fields_of(Payload(one.payload)).get("account") for one in stuck)
    return list(dict.fromkeys(name for name in names if name))


def describe_waiting(count: int, accounts: list[str]) -> str:
    """Says how many contracts wait for which accounts, and the ways on."""
    waits = format_count(count, "contract waits", "contracts wait")
    many = "at least " if count > ACCOUNTS_READ else ""
    lack = format_count(
        len(accounts), "account that CustomerGauge lacks", "accounts that CustomerGauge lacks"
    )
    names = ", ".join(accounts[:ACCOUNTS_NAMED])
    more = len(accounts) - ACCOUNTS_NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    return f"{waits} for {many}{lack}: {names}{rest}. {_CREATE}"


def _slowed_to(pace: SharedPace | None, now: datetime, limit: Rate | None) -> float | None:
    """Returns the requests a second that 429s have left; None where that is the whole limit."""
    rate = Pace.going_on(limit, pace).per_second(now)
    is_whole = rate is None or (limit is not None and rate >= limit.per_second)
    return None if rate is None or is_whole else round(rate, 2)


def _daemon(presence: Presence | None, now: datetime) -> dict[str, Any]:
    is_running = presence is not None and _is_running(presence, now)
    ended = None if presence is None or is_running else presence.ended_at or presence.beat_at
    if presence is None or (presence.ended_at and presence.error is None):  # nothing is missing
        nothing = dict.fromkeys(("pid", "since", "role", "error", "age_seconds"))
        return {"running": False, "ended": format_instant(ended), **nothing}
    return {
        "running": is_running,
        "ended": format_instant(ended),
        "pid": presence.pid,
        "since": format_instant(presence.since),
        "role": presence.role,
        "error": presence.error,
        "age_seconds": _seconds_since(presence.since, now),
    }


def _instances(presences: Iterable[Presence], now: datetime) -> list[dict[str, Any]]:
    """Returns every daemon that runs for this state, the one that captures first."""
    running = [one for one in presences if _is_running(one, now)]
    return [
        {"pid": one.pid, "host": one.host, "role": one.role, "since": format_instant(one.since)}
        for one in sorted(running, key=lambda one: (one.role != "active", one.since))
    ]


def _is_running(presence: Presence, now: datetime) -> bool:
    has_left = presence.ended_at is not None or presence.error is not None
    is_fresh = now - presence.beat_at < PRESENCE_GOOD_FOR
    return is_fresh and not has_left and not has_ended(presence.place, presence.pid)


def _reconcile(last: ReconcileReport | None, now: datetime) -> dict[str, Any] | None:
    if last is None:
        return None
    age = (now - last.started).total_seconds()  # below 0 once the clock was set back
    return {**document_of(last), "age_seconds": round(age, 3)}


def _poll(poll: PollReport | None, now: datetime) -> dict[str, Any] | None:
    if poll is None:
        return None
    return {
        "started": format_instant(poll.started),
        "finished": format_instant(poll.finished),
        "age_seconds": _seconds_since(poll.finished, now),
        "good_age_seconds": _seconds_since(poll.good_at, now),
        "rows": poll.rows,
        "changed": poll.changed,
        "error": poll.error,
    }


def _late(count: int, seconds: float | None, report: LateReport | None) -> dict[str, Any] | None:
    """Returns what sweeps found within the last day; None for nothing."""
    if not count:
        return None
    return {"changes": count, "longest_seconds": seconds, **(document_of(report) or {})}


def describe_late(count: int, seconds: float | None) -> str:
    """Says in a sentence that changes came too late for polls."""
    behind = "" if seconds is None else f" up to {format_seconds(seconds)}"
    if count == 1:
        return f"1 change came{behind} behind its stamp; polls did not see it"
    return f"{count:,} changes came{behind} behind their stamps; polls did not see them"


def _seconds_since(instant: datetime, now: datetime) -> float:
    return round(max(0.0, (now - instant).total_seconds()), 1)


def document_of(value: Any) -> Any:
    """Returns a stored value's fields as JSON documents have them; None for None."""
    if value is None:
        return None
    found = {one.name: getattr(value, one.name) for one in fields(value)}
    return {
        name: format_instant(it) if isinstance(it, datetime) else it for name, it in found.items()
    }


def hold_document(
    hold: HoldReport | None, held: int, examples: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Returns what is held in all, with the latest run and its examples; None for nothing."""
    if hold is None or not held:
        return None
    return {"held": held, **document_of(hold), "examples": examples}


def public_document(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the document with the keys of `status --json` alone."""
    internal = ("hold", "missing_accounts")
    public = {name: value for name, value in document.items() if name not in internal}
    private = (("daemon", "age_seconds"), ("last_poll", "good_age_seconds"), ("api", "since"))
    for section, extra in private:
        keys = document[section]
        public[section] = keys and {name: keys[name] for name in keys if name != extra}
    return public


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not well; `key` stays while the words change.

    A `degree` that grows (a count) or changes (a word) is news of the same trouble.
    """

    key: str
    message: str
    degree: int | str = 0


_HINTS = {
    "unauthorized": "Check `customergauge.client_id` and `client_secret`.",
    "forbidden": "Have CustomerGauge let this client PUT contracts.",
}
REJECTED = "rejected: cdc-sync contracts list --status rejected"
_CREATE = (
    "Create them there, and then: cdc-sync retry --all; or set"
    " `customergauge.create_missing_accounts`. Each: cdc-sync contracts list --status waiting"
)
ACCOUNTS_NAMED = 3
ACCOUNTS_READ = 1000  # contracts, of whose accounts status knows
HELD = "held by the guard: cdc-sync approve, or cdc-sync discard"
#: What is said of one contract and of many.
_STUCK = {
    "rejected": (f"contract is {REJECTED}", f"contracts are {REJECTED}"),
    "held": (f"contract is {HELD}", f"contracts are {HELD}"),
}


def find_troubles(
    document: dict[str, Any], config: Config, unit: str | None = None
) -> Iterator[Trouble]:
    """Yields what is not well. `unit` is the one that is installed to run the daemon here."""
    daemon, poll, api = document["daemon"], document["last_poll"], document["api"]
    late = max(5.0, POLLS_MISSED * config.schedule.poll.total_seconds())
    seconds = _seconds_without_poll(daemon, poll)
    if not daemon["running"] and (unit or daemon["since"] is not None or seconds > late):
        yield Trouble("daemon", _describe_absence(daemon, poll, unit))
    if api["state"] not in ("ok", "throttled"):
        yield Trouble("api", _standstill(api, document["contracts"]["pending"]), api["state"])
    if poll is not None and poll["error"]:
        yield Trouble("poll", f"The last poll failed: {poll['error']}")
    if daemon["running"] and seconds > late:
        yield Trouble("poll", f"No poll has ended well for {seconds:.0f} s.")
    error = (document["last_reconcile"] or {}).get("error")
    if error and error != STOPPED:
        yield Trouble("reconcile", f"The last reconcile failed: {error}")
    elif overdue := _describe_overdue(daemon, document["last_reconcile"], config):
        yield Trouble("reconcile", f"{overdue} Run: cdc-sync reconcile")
    for status, (one, many) in _STUCK.items():
        if count := document["contracts"][status]:
            yield Trouble(status, format_count(count, one, many), count)
    if count := document["contracts"]["waiting"]:
        yield Trouble("waiting", describe_waiting(count, document["missing_accounts"]), count)
    if unexplained := (document["balance"] or {}).get("unexplained"):
        message = f"Unexplained: {format_count(unexplained, 'row')} of the source."
        yield Trouble("unexplained", message, unexplained)
    if document["paused"]:
        yield Trouble("paused", "Delivery is paused by a person: cdc-sync resume")


def _describe_overdue(
    daemon: dict[str, Any], last: dict[str, Any] | None, config: Config
) -> str | None:
    """Returns what to say where two reconciles were due, while the daemon ran, and none came."""
    if last is None or not daemon["running"]:
        return None
    age, daemon_age = last["age_seconds"], daemon["age_seconds"]
    quiet = timedelta(seconds=daemon_age if age < 0 else min(age, daemon_age))
    now = datetime.fromisoformat(daemon["since"]) + timedelta(seconds=daemon_age)
    second = second_due(config.schedule.reconcile, now - quiet)
    if second is None or second >= now:
        return None
    if age < 0:
        return f"The last reconcile is of {last['started']}, which is yet to come."
    return f"The last reconcile began {format_seconds(age)} ago, and two were due since."


def _seconds_without_poll(daemon: dict[str, Any], poll: dict[str, Any] | None) -> float:
    """Returns for how long no poll has ended well, while a daemon runs: since its start."""
    known = [poll["good_age_seconds"]] if poll else []
    # A daemon that has just begun is not late for the time in which there was none.
    since_start = [daemon["age_seconds"]] if daemon["running"] else []
    return float(min(known + since_start, default=0.0))


def _describe_absence(daemon: dict[str, Any], poll: dict[str, Any] | None, unit: str | None) -> str:
    since = f" since {format_instant(daemon['ended'], 'seconds')}" if daemon["ended"] else ""
    message = f"No daemon runs{since}"
    if poll:
        message += f", and the last good poll was {format_seconds(poll['good_age_seconds'])} ago"
    if daemon["error"]:
        message += f". It ended by an error: {daemon['error'].rstrip('. ')}"
    if unit is None:
        return f"{message}. Start it: cdc-sync run"
    return f"{message}. Start it: systemctl start {unit}; its log: journalctl -u {unit}"


def _standstill(api: dict[str, Any], pending: int) -> str:
    since = f" since {format_instant(api['since'], 'seconds')}" if api["since"] else ""
    wait = format_count(pending, "contract waits", "contracts wait")
    is_named = "`customergauge." in (api["reason"] or "")
    hint = "" if is_named else f" {_HINTS.get(api['state'], '')}".rstrip()
    return (
        f"Delivery stands still{since} ({api['state']}): {end_sentence(api['reason'])}{hint}"
        f" Nothing is lost, {wait}."
    )


def end_sentence(words: str | None) -> str:
    """Returns the words with a full stop."""
    return f"{(words or 'no reason').rstrip('. ')}."
