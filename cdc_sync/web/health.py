"""Whether the daemon does its work, judged from inside its process: no database is asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cdc_sync.operations.status import POLLS_MISSED, sentence

SHORTEST_PATIENCE = timedelta(seconds=5)
DELIVERY_TURNS_WITHIN = 60.0  # seconds; while the state is away it looks every 15


@dataclass(frozen=True, slots=True)
class Vitals:
    """Signs of life: when a poll last ended well, and how long delivery has not come round.

    `captures` is False where another instance polls, and this one only delivers.
    """

    good_poll_at: datetime
    poll_error: str | None
    delivery_quiet: float
    captures: bool = True


def unwell(vitals: Vitals, poll_interval: timedelta, now: datetime) -> str | None:
    """Why the daemon does not do its work; None where it does."""
    age = now - vitals.good_poll_at
    if vitals.captures and age > max(POLLS_MISSED * poll_interval, SHORTEST_PATIENCE):
        why = f" {sentence(vitals.poll_error)}" if vitals.poll_error else ""
        return f"No poll has ended well for {age.total_seconds():.0f} s.{why}"
    if vitals.delivery_quiet > DELIVERY_TURNS_WITHIN:
        return f"Delivery has not come round for {vitals.delivery_quiet:.0f} s."
    return None
