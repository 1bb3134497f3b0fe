"""The horizon as a decision: what unfinished transactions allow, from a glance at the source.

A row is stamped when its transaction starts and seen when it commits. The horizon is an instant
on the source's own clock before which no unfinished transaction can still commit a row. It is
asked for before a scan; the watermark may move to it and never past it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A transaction that may still commit. `started` None: prepared, its start is not known.

    `key` is another one as soon as it is another transaction, or has left its session.
    """

    key: str
    who: str
    started: datetime | None


@dataclass(frozen=True, slots=True)
class Glance:
    """What the source said, before a scan, of what is unfinished; in `blind` why it cannot say.

    `clock` was read no later than the transactions. `server` tells one server from the next, where
    the same one is meant to answer each time.
    """

    clock: datetime
    unfinished: tuple[Unfinished, ...] = ()
    server: str | None = None
    blind: str | None = None
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What a later horizon must know of the ones before.

    `value` is the last horizon, `bounds` what each prepared transaction cannot have begun before;
    `clock` and `ours` are the two clocks at one moment.
    """

    value: datetime | None
    bounds: Mapping[str, datetime]
    server: str | None
    clock: datetime
    ours: datetime


@dataclass(frozen=True, slots=True)
class Sight:
    """How far one can see: `value` None means nowhere yet.

    `ahead` is the horizon that there would be without `holders`: the long transactions and the
    prepared ones. `afresh`: another server, or a clock set back, made the horizon begin anew.
    """

    value: datetime | None
    ahead: datetime
    memory: Memory
    holders: tuple[Unfinished, ...] = field(default=())
    afresh: bool = False


def look(
    glance: Glance,
    memory: Memory | None,
    *,
    ours: datetime,
    margin: timedelta,
    lookback: timedelta,
    long_after: timedelta,
) -> Sight:
    """The horizon from a glance. A source that is blind is looked back at, `lookback` far."""
    afresh = memory is not None and _is_another(glance, memory, ours, margin)
    before = None if memory is None or afresh else memory.value
    server = glance.server or (None if memory is None else memory.server)
    if glance.blind is not None:
        bounds = {} if memory is None else memory.bounds
        kept = Memory(before, bounds, server, glance.clock, ours)
        behind = glance.clock - lookback
        return Sight(behind, behind, kept, afresh=afresh)
    prepared = [one.key for one in glance.unfinished if one.started is None]
    started = [one for one in glance.unfinished if one.started is not None]
    long = [one for one in started if _start(one) < glance.clock - long_after]
    candidate = _earliest(glance.clock, started) - margin
    bounds = _bounds(prepared, memory, before, candidate - lookback)
    value = before
    if len(bounds) == len(prepared):
        value = _latest(before, min([candidate, *bounds.values()]))
    young = [one for one in started if one not in long]
    return Sight(
        value,
        _latest(before, _earliest(glance.clock, young) - margin),
        Memory(value, bounds, server, glance.clock, ours),
        tuple(one for one in glance.unfinished if one.started is None or one in long),
        afresh,
    )


def _is_another(glance: Glance, memory: Memory, ours: datetime, margin: timedelta) -> bool:
    """Whether another server answers, or its clock has fallen behind ours."""
    if None not in (glance.server, memory.server) and glance.server != memory.server:
        return True
    return (ours - memory.ours) - (glance.clock - memory.clock) > margin / 2


def _bounds(
    prepared: list[str], memory: Memory | None, before: datetime | None, afresh: datetime
) -> dict[str, datetime]:
    """What each prepared transaction keeps from its first glance on; none where nobody can say."""
    if memory is None:
        return {}
    if before is None and memory.value is not None:
        before = min(memory.value, afresh)  # it may be of the time before the fail-over
    bounds = {key: memory.bounds.get(key, before) for key in prepared}
    return {key: bound for key, bound in bounds.items() if bound is not None}


def _start(one: Unfinished) -> datetime:
    assert one.started is not None  # noqa: S101
    return one.started


def _earliest(clock: datetime, started: list[Unfinished]) -> datetime:
    return min([clock, *map(_start, started)])


def _latest(before: datetime | None, value: datetime) -> datetime:
    return value if before is None else max(before, value)
