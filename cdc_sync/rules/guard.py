"""Decides whether a run would change so much that a person must look at it first."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from cdc_sync.config.model import GuardConfig
from cdc_sync.contract import Status
from cdc_sync.rules.compare import IMPORTED, Change


class Effect(StrEnum):
    """What a change does to what CustomerGauge holds."""

    UPDATED = "updated"  #: CustomerGauge holds the contract, and holds another payload
    GONE = "gone"  #: CustomerGauge holds the contract, and the source has it no more
    NEW = "new"  #: CustomerGauge has never acknowledged the contract


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of changes of one run, by their effect."""

    updated: int = 0
    gone: int = 0
    new: int = 0

    @property
    def changes(self) -> int:
        """How many change what CustomerGauge holds already."""
        return self.updated + self.gone


@dataclass(frozen=True, slots=True)
class Held:
    """Which changes of a run wait for a person."""

    changes: bool = False
    new: bool = False

    def __contains__(self, effect: Effect | None) -> bool:
        return effect is not None and (self.new if effect is Effect.NEW else self.changes)

    def __bool__(self) -> bool:
        return self.changes or self.new


def effect_of(change: Change) -> Effect | None:
    """Returns the effect of a change; None for a change that is never held.

    That is what our own rules refuse, what goes back to the acknowledged payload, what is held
    already, what CustomerGauge never had and never will have, and the first PUT of a contract
    whose reference a person has imported.
    """
    if change.status not in (Status.PENDING, Status.GONE):
        return None
    acknowledged = change.known.acknowledged if change.known else None
    if change.gone:
        return None if acknowledged is None else Effect.GONE
    if acknowledged is None:
        return Effect.NEW
    return None if acknowledged in (change.payload, IMPORTED) else Effect.UPDATED


def tally_changes(changes: Iterable[Change]) -> Tally:
    """Counts changes by their effect."""
    effects = [effect_of(change) for change in changes]
    return Tally(*(effects.count(effect) for effect in Effect))


def judge(guard: GuardConfig, tally: Tally, known: int) -> Held:
    """Returns what of a run is held, where `known` contracts are acknowledged.

    Changes are held where they are more than the share of the known contracts, new contracts
    where they would more than double them.
    """
    if guard.max_changes is None or known < least_known(guard):
        return Held()
    return Held(tally.changes > _share(guard.max_changes) * known, tally.new > known)


def count_limit(guard: GuardConfig, tally: Tally) -> int:
    """Returns how many known contracts it is enough to count; 0 if they need not be counted.

    Any greater number decides as this one does. So a judgement costs as much as its changes,
    however many contracts there are.
    """
    least = least_known(guard)
    if guard.max_changes is None or not judge(guard, tally, least):
        return 0  # more known contracts only allow more
    share = _share(guard.max_changes)
    enough = tally.changes // share + 1 if share else 0
    return max(least, int(enough), tally.new)


def least_known(guard: GuardConfig) -> int:
    """Returns how many contracts must be known for anything to be held: none have no share."""
    return max(1, guard.min_contracts)


def _share(share: float) -> Fraction:
    # 29% of 100 are 29, which no binary fraction says.
    return Fraction(share).limit_denominator(1_000_000)
