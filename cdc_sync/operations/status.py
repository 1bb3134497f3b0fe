"""The status document, read from the state alone: the same for every way of looking at it."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cdc_sync.config.model import Config
from cdc_sync.contract import Status
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import contracts, control, holds, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.history import STOPPED
from cdc_sync.wording import format_count, format_instant

KINDS = ("created", "updated", "recreated", "adopted", "unchanged", "rejected", "retried")
POLLS_MISSED = 3  # intervals without a good poll after which it is not well
PRESENCE_GOOD_FOR = timedelta(seconds=10)
_REJECTED = "rejected: cdc-sync contracts list --status rejected"
_WAITING = "account: cdc-sync contracts list --status waiting"
_HELD = "held by the guard: cdc-sync approve, or cdc-sync discard"
_MENDS = {
    "unauthorized": "Check `customergauge.client_id` and `client_secret`.",
    "forbidden": "Have CustomerGauge let this client PUT contracts.",
}
_TOLD_OF_EACH = ("pid", "host", "role", "since")
_STUCK = {
    "rejected": (f"{{count}} contract is {_REJECTED}", f"{{count}} contracts are {_REJECTED}"),
    "waiting": (
        f"{{count}} contract waits for its {_WAITING}",
        f"{{count}} contracts wait for their {_WAITING}",
    ),
    "held": (f"{{count}} contract is {_HELD}", f"{{count}} contracts are {_HELD}"),
}


def read_status(state: Database, now: datetime) -> dict[str, Any]:
    """`status --json`, key for key."""
    with state.read() as tx:
        kept = control.get_all(tx)
        mark = watermark.read(tx)
        counts = contracts.counts(tx)
        examples = holds.examples(tx) if counts[Status.HELD] else []
    poll = kept.get(control.LAST_POLL)
    horizon = kept.get(control.HORIZON) or {}
    api = kept.get(control.API) or {}
    daemon = _daemon(kept.get(control.DAEMON), now)
    read_to = watermark.read_to(mark, horizon)
    return {
        "daemon": daemon,
        "paused": bool(kept.get(control.PAUSED)),
        "watermark": {
            "value": write_watermark(mark.value),
            "type": mark.type.value if mark.type else None,
            "horizon": horizon.get("horizon"),
            "basis": horizon.get("basis", "lookback"),
            "basis_reason": horizon.get("basis_reason"),
            "read_to": write_watermark(read_to),
            "held_back_by": horizon.get("held_back_by"),
            "lag_seconds": _lag(read_to, horizon),
            "version": mark.version,
        },
        "contracts": {status.value: counts[status] for status in Status},
        "last_poll": _aged(poll, now, daemon["since"]),
        "last_reconcile": kept.get(control.LAST_RECONCILE),
        "last_delivery": _at(kept.get(control.LAST_DELIVERY)),
        "hold": _hold(kept.get(control.HOLD), counts[Status.HELD], examples),
        "balance": _at(kept.get(control.BALANCE)),
        "totals": _totals(kept),
        "api": {
            "state": api.get("state", "ok"),
            "reason": api.get("reason"),
            "since": format_instant(api.get("since")),
            "paused_until": format_instant(api.get("paused_until")),
            "token_expires": format_instant((kept.get(control.DAEMON) or {}).get("token_expires")),
        },
        "instances": _instances(kept, now),
    }


def public(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the keys that are promised, and no others."""
    poll = document["last_poll"]
    api = {name: value for name, value in document["api"].items() if name != "since"}
    shown = poll and {name: value for name, value in poll.items() if name != "good_age_seconds"}
    whole = {**document, "last_poll": shown, "api": api}
    return {name: value for name, value in whole.items() if name != "hold"}


def troubles(document: dict[str, Any], config: Config) -> list[str]:
    """What is not well, in sentences; nothing where all is."""
    return [found.message for found in findings(document, config)]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not well, by a key that stays while the words change.

    Its degree: a count that grows, or a word that changes, is news of the same trouble.
    """

    key: str
    message: str
    degree: int | str = 0


def findings(document: dict[str, Any], config: Config) -> Iterator[Trouble]:
    """What is not well, each with its key; nothing where all is."""
    daemon, poll, api = document["daemon"], document["last_poll"], document["api"]
    if not daemon["running"] and daemon["since"] is not None:
        message = "The daemon does not run although it should: start it, and read its log."
        yield Trouble("daemon", message)
    if api["state"] not in ("ok", "throttled"):
        yield Trouble("api", _standstill(api, document["contracts"]["pending"]), api["state"])
    if poll is not None and poll["error"]:
        yield Trouble("poll", f"The last poll failed: {poll['error']}")
    late = POLLS_MISSED * config.schedule.poll.total_seconds()
    if daemon["running"] and poll is not None and poll["good_age_seconds"] > max(late, 5):
        yield Trouble("poll", f"No poll has ended well for {poll['good_age_seconds']:.0f} s.")
    error = (document["last_reconcile"] or {}).get("error")
    if error and error != STOPPED:
        yield Trouble("reconcile", f"The last reconcile failed: {error}")
    for status, (one, many) in _STUCK.items():
        if count := document["contracts"][status]:
            yield Trouble(status, (one if count == 1 else many).format(count=f"{count:,}"), count)
    if unexplained := (document["balance"] or {}).get("unexplained"):
        message = f"Unexplained: {format_count(unexplained, 'row')} of the source."
        yield Trouble("unexplained", message, unexplained)
    if document["paused"]:
        yield Trouble("paused", "Delivery is paused by a person: cdc-sync resume")


def sentence(words: str | None) -> str:
    """The words with a full stop."""
    return f"{(words or 'no reason').rstrip('. ')}."


def _standstill(api: dict[str, Any], pending: int) -> str:
    since = f" since {api['since'].partition('.')[0].removesuffix('Z')}Z" if api["since"] else ""
    wait = format_count(pending, "contract waits", "contracts wait")
    hint = _MENDS.get(api["state"], "")
    asks = f" {hint}" if hint and "`customergauge." not in (api["reason"] or "") else ""
    return (
        f"Delivery stands still{since} ({api['state']}): {sentence(api['reason'])}{asks}"
        f" Nothing is lost, {wait}."
    )


def _daemon(kept: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
    if kept is None:
        return {"running": False, "pid": None, "since": None, "role": None}
    fresh = now - datetime.fromisoformat(kept["beat_at"]) < PRESENCE_GOOD_FOR
    return {
        "running": fresh and _alive(kept),
        "pid": kept["pid"],
        "since": format_instant(kept["since"]),
        "role": kept["role"],
    }


def _instances(kept: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Every daemon that runs for this state, the one that captures first."""
    found = [
        {
            name: one[name] if name != "since" else format_instant(one[name])
            for name in _TOLD_OF_EACH
        }
        for one in control.instances(kept).values()
        if now - datetime.fromisoformat(one["beat_at"]) < PRESENCE_GOOD_FOR and _alive(one)
    ]
    return sorted(found, key=lambda one: (one["role"] != "active", one["since"]))


def _alive(presence: dict[str, Any]) -> bool:
    if presence.get("host") != socket.gethostname():
        return True  # as far as can be seen from here
    try:
        os.kill(presence["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lag(value: object, horizon: dict[str, Any]) -> float | None:
    clock = horizon.get("clock")
    if not isinstance(value, datetime) or clock is None:
        return None
    return max(0.0, round((datetime.fromisoformat(clock) - value).total_seconds(), 3))


def _aged(poll: dict[str, Any] | None, now: datetime, since: str | None) -> dict[str, Any] | None:
    if poll is None:
        return None
    age = (now - datetime.fromisoformat(poll["finished"])).total_seconds()
    # A daemon that has just begun is not late for the time in which there was none.
    good_at = max(datetime.fromisoformat(text) for text in (poll["good_at"], since) if text)
    good = (now - good_at).total_seconds()
    shown = {name: poll[name] for name in ("rows", "changed", "error")}
    return {
        "started": format_instant(poll["started"]),
        "finished": format_instant(poll["finished"]),
        "age_seconds": round(max(0.0, age), 1),
        "good_age_seconds": round(max(0.0, good), 1),
        **shown,
    }


def _hold(
    kept: dict[str, Any] | None, held: int, examples: list[dict[str, Any]]
) -> dict[str, Any] | None:
    if kept is None or not held:
        return None
    return {"held": held, **kept, "at": format_instant(kept["at"]), "examples": examples}


def _totals(kept: dict[str, Any]) -> dict[str, int]:
    totals = kept.get(control.TOTALS) or {}
    return {kind: totals.get(kind, 0) for kind in KINDS}


def _at(document: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if document is None else {**document, "at": format_instant(document["at"])}
