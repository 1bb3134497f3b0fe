"""What a crash test may not have seen: judged from the sandbox's log and the source, as values.

Instants are seconds on the monotonic clock of the machine.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
    "too_fast",  # more PUTs in some seconds than the rate limit of all daemons together
    "roles",  # `status` does not show every daemon, and one of them that captures
    "still_claimed",  # by a daemon that was stopped
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

    `claimed` has the contracts that were claimed, by reference, and since when. A daemon that was
    frozen, or a state that was away, is one, too, of another kind: until it is `over` whoever
    comes late puts what was claimed in doubt.
    """

    at: float
    over: float
    claimed: Mapping[str, float]
    kind: str = "kill"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the log shows: violations by kind, each with its story, and what was explained."""

    violations: dict[str, list[str]]
    repeats: Counter[str]  #: PUTs of what was acknowledged, by the doubt that justifies them
    overlaps: Counter[str]  #: with the request of a dead daemon, or of a frozen one that woke
    backwards: int  #: steps that a frozen daemon made when it woke, and that others mended


class _Doubt(NamedTuple):
    kind: str
    began: float
    latest: float  #: it may have begun then instead
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
    overlaps: Counter[str] = Counter()
    found = Findings({kind: [] for kind in VIOLATIONS}, Counter(), overlaps, 0)
    _judge_references(puts, found)
    by_reference: dict[str, list[Put]] = defaultdict(list)
    for put in puts:
        by_reference[put.reference].append(put)
    backwards = 0
    for reference, own in by_reference.items():
        its_kills = [kill for kill in kills if reference in kill.claimed]
        _judge_overlaps(own, kills, found)
        backwards += _judge_order(own, its_kills, found)
        _judge_need(own, its_kills, found)
    return replace(found, backwards=backwards)


def _judge_references(puts: Sequence[Put], found: Findings) -> None:
    pairs = {(put.account, put.reference) for put in puts}
    for place in (0, 1):
        counts = Counter(pair[place] for pair in pairs)
        for name in (name for name, count in counts.items() if count > 1):
            others = sorted(pair[1 - place] for pair in pairs if pair[place] == name)
            found.violations["two_references"].append(f"{name}: {', '.join(others)}")


def _judge_overlaps(own: Sequence[Put], kills: Sequence[Kill], found: Findings) -> None:
    once: set[int] = set()  # a frozen daemon may do it once for each contract
    for one, other in pairwise(own):
        if other.started >= one.finished:
            continue
        causes = [k for k in kills if _may_overlap(k, one, other) and id(k) not in once]
        if causes:
            found.overlaps[causes[0].kind] += 1
            once.update(id(k) for k in causes if k.kind == "freeze")
        else:
            found.violations["overlapping"].append(f"{one} and {other}")


def _may_overlap(kill: Kill, one: Put, other: Put) -> bool:
    if kill.kind == "freeze" and one.reference not in kill.claimed:
        return False
    meets = one.started <= kill.over and kill.at <= other.started
    return meets and kill.kind in ("kill", "freeze")


def _judge_order(own: Sequence[Put], kills: Sequence[Kill], found: Findings) -> int:
    newest: Put | None = None
    explained = 0
    for put in sorted(own, key=lambda put: put.finished):
        if put.revision is None:
            continue
        newer = newest is not None and (newest.revision or 0) > put.revision
        if newest is not None and newer and put.started > newest.finished:
            if any(kill.kind == "freeze" for kill in _under_way(kills, put)):
                explained += 1
            else:
                found.violations["backwards"].append(f"{put} after {newest}")
        if put.acknowledged and not newer:
            newest = put
    return explained


def _under_way(kills: Sequence[Kill], put: Put) -> list[Kill]:
    return [kill for kill in kills if kill.at <= put.started <= kill.over]


def _judge_need(own: Sequence[Put], kills: Sequence[Kill], found: Findings) -> None:
    """Walks what happened to one contract, with what its sender could know at each step."""
    known: str | None = None
    doubt: _Doubt | None = None
    events: list[tuple[float, Put | Kill]] = [(put.started, put) for put in own]
    events += [(kill.over, kill) for kill in kills]
    for _, event in sorted(events, key=lambda timed: timed[0]):
        if isinstance(event, Kill):
            began = event.claimed[own[0].reference]
            if event.kind == "kill":
                doubt = _Doubt(event.kind, began, began)
            else:  # nothing may have come of it, and an older doubt go on
                older = doubt.began if doubt else began
                doubt = _Doubt(event.kind, min(began, older), event.over)
            continue
        late = (kill.kind for kill in _under_way(kills, event))
        why = _explained(event, doubt) or next(late, None)
        if event.payload == known:
            if why is None:
                found.violations["needless"].append(f"{event}, in doubt: {doubt}")
            else:
                found.repeats[why] += 1
        if event.acknowledged:
            doubt = _answered(doubt, event, confirms=event.payload == known and why == "confirm")
            known = event.payload
        elif event.doubt:
            doubt = _Doubt(event.doubt, event.started, event.started)


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
    if doubt is None or confirms or put.started - doubt.latest > CONFIRM_AFTER + SLACK:
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
