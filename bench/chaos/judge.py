"""What a crash test may not have seen: judged from the sandbox's log and the source, as values.

Instants are seconds on the monotonic clock of the machine.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from cdc_sync.sandbox.ledger import Entry

CONFIRM_AFTER = 60.0  # seconds; when an acknowledged contract that was in doubt is sent once more
SLACK = 5.0  # seconds between what the daemon's clock says of an attempt and what the log says
Contracts = Mapping[str, Mapping[str, str | None]]
"""Fields of contracts, by account."""

FIELDS = ("account", "start", "end", "description")
VIOLATIONS = (
    "lost",  # a row that CustomerGauge does not have
    "stale",  # a contract of which CustomerGauge holds another value
    "phantom",  # a contract whose row was never committed
    "two_references",  # of one contract, or two contracts with one
    "overlapping",  # PUTs of one contract
    "backwards",  # an older payload sent after a newer one was acknowledged
    "needless",  # a PUT of what was acknowledged, without a doubt that justifies it
    "still_due",  # contracts that do not come to rest when all is well again
    "daemon_ended",  # by itself, or not well
)
_REVISION = re.compile(r"r(\d+)")


class Put(NamedTuple):
    """One PUT of a contract; `payload` is its body without the reference."""

    reference: str
    account: str
    payload: str
    revision: int | None  #: None: the row goes back to earlier values, and has none
    started: float
    finished: float
    acknowledged: bool  #: it was applied, and the answer said so
    doubt: str | None  #: why the sender cannot know whether it was applied


class Kill(NamedTuple):
    """One kill -9: between `at` and `over` the last requests of the dead may still arrive.

    `claimed` has the contracts that were claimed, by reference, and since when.
    """

    at: float
    over: float
    claimed: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the log shows: violations by kind, each with its story, and what was explained."""

    violations: dict[str, list[str]]
    repeats: Counter[str]  #: PUTs of what was acknowledged, by the doubt that justifies them
    overlaps_after_kill: int  #: a dead daemon's request that the sandbox had not answered yet


class _Doubt(NamedTuple):
    kind: str
    began: float
    answered: bool = False


def puts_of(entries: Iterable[Entry]) -> list[Put]:
    """The PUTs of contracts in a log, in the order in which they began."""
    contracts = [e for e in entries if e.path == "contracts" and isinstance(e.body, dict)]
    return sorted(map(_put, contracts), key=lambda put: put.started)


def _put(entry: Entry) -> Put:
    body = {name: value for name, value in entry.body.items() if name != "reference"}
    revision = _REVISION.fullmatch(str(body.get("description")))
    return Put(
        reference=str(entry.reference),
        account=str(body.get("account")),
        payload=json.dumps(body, sort_keys=True),
        revision=int(revision[1]) if revision else None,
        started=entry.started,
        finished=entry.finished,
        acknowledged=entry.applied and entry.fault in (None, "latency"),
        doubt=_doubt_of(entry),
    )


def _doubt_of(entry: Entry) -> str | None:
    if entry.status is not None and entry.status >= 500:
        return "5xx"
    return "lost_answer" if entry.fault in ("lost", "reset") else None


def judge(puts: Sequence[Put], kills: Sequence[Kill]) -> Findings:
    """What a log, in the order in which its PUTs began, shows."""
    found = Findings({kind: [] for kind in VIOLATIONS}, Counter(), 0)
    _judge_references(puts, found)
    by_reference: dict[str, list[Put]] = defaultdict(list)
    for put in puts:
        by_reference[put.reference].append(put)
    explained = 0
    for reference, own in by_reference.items():
        explained += _judge_overlaps(own, kills, found)
        _judge_order(own, found)
        _judge_need(own, [kill for kill in kills if reference in kill.claimed], found)
    return Findings(found.violations, found.repeats, explained)


def _judge_references(puts: Sequence[Put], found: Findings) -> None:
    pairs = {(put.account, put.reference) for put in puts}
    for place in (0, 1):
        counts = Counter(pair[place] for pair in pairs)
        for name in (name for name, count in counts.items() if count > 1):
            others = sorted(pair[1 - place] for pair in pairs if pair[place] == name)
            found.violations["two_references"].append(f"{name}: {', '.join(others)}")


def _judge_overlaps(own: Sequence[Put], kills: Sequence[Kill], found: Findings) -> int:
    explained = 0
    for one, other in pairwise(own):
        if other.started >= one.finished:
            continue
        if any(one.started <= kill.over and kill.at <= other.started for kill in kills):
            explained += 1
        else:
            found.violations["overlapping"].append(f"{one} and {other}")
    return explained


def _judge_order(own: Sequence[Put], found: Findings) -> None:
    newest: Put | None = None
    for put in sorted(own, key=lambda put: put.finished):
        if put.revision is None:
            continue
        newer = newest is not None and (newest.revision or 0) > put.revision
        if newest is not None and newer and put.started > newest.finished:
            found.violations["backwards"].append(f"{put} after {newest}")
        if put.acknowledged and not newer:
            newest = put


def _judge_need(own: Sequence[Put], kills: Sequence[Kill], found: Findings) -> None:
    """Walks what happened to one contract, with what its sender could know at each step."""
    known: str | None = None
    doubt: _Doubt | None = None
    events: list[tuple[float, Put | Kill]] = [(put.started, put) for put in own]
    events += [(kill.over, kill) for kill in kills]
    for _, event in sorted(events, key=lambda timed: timed[0]):
        if isinstance(event, Kill):
            doubt = _Doubt("kill", event.claimed[own[0].reference])
            continue
        why = _explained(event, doubt)
        if event.payload == known:
            if why is None:
                found.violations["needless"].append(f"{event}, in doubt: {doubt}")
            else:
                found.repeats[why] += 1
        if event.acknowledged:
            doubt = _answered(doubt, event, confirms=event.payload == known and why == "confirm")
            known = event.payload
        elif event.doubt:
            doubt = _Doubt(event.doubt, event.started)


def _explained(put: Put, doubt: _Doubt | None) -> str | None:
    if doubt is None:
        return None
    if not doubt.answered:
        return doubt.kind
    age = put.started - doubt.began
    if put.revision is None and age < CONFIRM_AFTER:
        return "back_in_doubt"  # only such a row can have been another one and be back
    return "confirm" if age >= CONFIRM_AFTER - SLACK else None


def _answered(doubt: _Doubt | None, put: Put, *, confirms: bool) -> _Doubt | None:
    if doubt is None or confirms or put.started - doubt.began > CONFIRM_AFTER + SLACK:
        return None
    return doubt._replace(answered=True)


def by_account(bodies: Iterable[Mapping[str, Any]]) -> Contracts:
    """The fields of these bodies, by account."""
    return {str(body["account"]): {name: body.get(name) for name in FIELDS} for body in bodies}


def differences(rows: Contracts, there: Contracts, gone: Iterable[str]) -> dict[str, list[str]]:
    """Source and CustomerGauge field by field, by account; `gone` were deleted, and may stay."""
    return {
        "lost": sorted(rows.keys() - there.keys()),
        "stale": sorted(name for name in rows.keys() & there.keys() if rows[name] != there[name]),
        "phantom": sorted(there.keys() - rows.keys() - set(gone)),
    }
