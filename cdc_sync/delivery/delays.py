"""What delays contracts, told once and then at most once a minute for each reason."""

from datetime import datetime, timedelta

import structlog

from cdc_sync.rules.outcome import Settlement

log = structlog.get_logger()

TOLD_EVERY = timedelta(minutes=1)
MOST_REASONS = 100  # kept apart; of more than that, each is told at debug alone


class Delays:
    """Keeps how often each reason came since it was last told."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[datetime, int]] = {}

    def tell(self, settlement: Settlement, why: str, seconds: float) -> None:
        """One line a contract at debug; at info the first of a reason, with the others' number."""
        others = self._others(why, settlement.at)
        level = log.debug if others is None else log.info
        level(
            "contract.delayed",
            source_id=settlement.claimed.source_id,
            reference=settlement.claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
            **({"others": others} if others else {}),
        )

    def _others(self, why: str, now: datetime) -> int | None:
        """How many came untold since it was last told; None where it is not to be told now."""
        at, others = self._told.get(why, (None, 0))
        # Further away than that: our clock was set back since.
        if at is not None and abs(now - at) < TOLD_EVERY:
            self._told[why] = (at, others + 1)
            return None
        self._told = {w: t for w, t in self._told.items() if abs(now - t[0]) < 2 * TOLD_EVERY}
        if len(self._told) >= MOST_REASONS:
            return None
        self._told[why] = (now, 0)
        return others
