"""Decides what a row changes in what is known of its contract, and so whether anything is sent."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from cdc_sync.contract import (
    REFUSED,
    Known,
    Mapped,
    Payload,
    Problem,
    Reference,
    SourceId,
    Status,
    fields_of,
    payload_of,
)

IMPORTED = payload_of({})
"""Acknowledged payload of an import: CustomerGauge holds the contract, its fields not known."""


class Action(StrEnum):
    """What a sync would do for a contract."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    INVALID = "invalid"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """What is recorded for one contract; `known` is what was there before."""

    action: Action
    source_id: SourceId
    reference: Reference | None
    payload: Payload
    status: Status
    problems: tuple[Problem, ...]
    gone: bool
    known: Known | None
    held_run: int | None = None  #: the run that keeps it from being sent until it is judged


def compare(
    seen: Mapped, known: Known | None, *, ends_on: date | None = None, ignore_previous: bool = False
) -> Change | None:
    """Returns the change that a row of the source means; None if nothing is to be recorded.

    `ends_on` is the day to end contracts that are gone with (`deletes.policy: end`), else None.
    With `ignore_previous` a change is recorded even if it is known, and nothing stays held.
    """
    if ignore_previous and known is not None:
        known = _without_hold(known)
    if seen.gone:
        return None if known is None else compare_gone(known, ends_on=ends_on)
    if known is not None and known.reference is not None and seen.problems:
        seen = _without_reference_problems(seen)  # its reference was chosen long ago
    if seen.problems:
        return _invalid(seen, known)
    reference = seen.reference if known is None or known.reference is None else known.reference
    if known is None:
        return _change(Action.CREATE, seen, None, reference, Status.PENDING)
    if not ignore_previous and _is_unchanged(seen, known):
        return None
    if seen.payload == known.acknowledged and not known.in_doubt:
        return _change(Action.UNCHANGED, seen, known, reference, Status.SYNCED)
    action = Action.CREATE if known.acknowledged is None else Action.UPDATE
    status = Status.HELD if _is_still_held(seen, known) else Status.PENDING
    return _change(action, seen, known, reference, status)


def compare_gone(
    known: Known, *, ends_on: date | None, ignore_previous: bool = False
) -> Change | None:
    """Returns the change for a known contract that is no longer in the source; None if known so.

    With a day to end it, it stays pending until CustomerGauge has acknowledged that end; what was
    never acknowledged, has ended before, or may only be kept is gone at once, and nothing is sent.
    A first PUT that is on its way, or whose answer was lost, may be applied: it is ended, too.
    What is held stays held, but for what CustomerGauge cannot have, and with `ignore_previous`.
    """
    if ignore_previous:
        known = _without_hold(known)
    if known.status is Status.GONE or known.ends_gone:
        return None
    payload, status = known.payload, Status.GONE
    last = _payload_there(known)
    if ends_on is not None and last is not None:
        payload = _end_payload(last, ends_on)
        if payload != known.acknowledged or known.in_doubt:
            status = Status.PENDING
    if known.status is Status.HELD and (known.acknowledged is not None or known.in_doubt):
        status = Status.HELD
    return Change(Action.GONE, known.source_id, known.reference, payload, status, (), True, known)


def _without_hold(known: Known) -> Known:
    return known._replace(status=Status.PENDING, ends_gone=False)


def _without_reference_problems(seen: Mapped) -> Mapped:
    others = tuple(problem for problem in seen.problems if problem.field != "reference")
    return seen._replace(problems=others)


def _invalid(seen: Mapped, known: Known | None) -> Change | None:
    if known is None:
        return _change(Action.INVALID, seen, None, seen.reference, Status.REJECTED)
    if (
        known.status in REFUSED
        and seen.payload == known.payload
        and seen.problems == known.problems
    ):
        return None
    reference = known.reference or seen.reference
    return _change(Action.INVALID, seen, known, reference, Status.REJECTED)


def _is_unchanged(seen: Mapped, known: Known) -> bool:
    """Whether the row is known as it is, and only a delivery can change its status."""
    if known.status is Status.GONE or known.ends_gone or known.refused_by_us:
        return False
    if known.status is Status.HELD and seen.payload == known.acknowledged:
        return False  # it was acknowledged while it was held
    return seen.payload == known.payload


def _is_still_held(seen: Mapped, known: Known) -> bool:
    """Whether it waits for a person still: not if it is back, or as it was acknowledged."""
    if known.status is not Status.HELD or known.ends_gone:
        return False
    return seen.payload != known.acknowledged


def _change(
    action: Action, seen: Mapped, known: Known | None, reference: Reference | None, status: Status
) -> Change:
    return Change(
        action, seen.source_id, reference, seen.payload, status, seen.problems, False, known
    )


def _payload_there(known: Known) -> Payload | None:
    """Returns what CustomerGauge holds, or may hold; None if nothing that can be sent."""
    if known.acknowledged == IMPORTED:
        return None if known.refused_by_us else known.payload
    return known.acknowledged or (known.payload if known.in_doubt else None)


def _end_payload(payload: Payload, day: date) -> Payload:
    fields = fields_of(payload)
    ended = fields.get("end")
    if ended and ended <= day.isoformat():
        return payload
    return payload_of({**fields, "end": day.isoformat()})
