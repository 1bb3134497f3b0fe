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
        since = self._told.get(why)
        is_new = since is None or settlement.at - since[0] >= TOLD_EVERY
        more = since[1] if since else 0
        if is_new:
            self._forget(settlement.at)
            is_new = len(self._told) < MOST_REASONS
        if is_new:
            self._told[why] = (settlement.at, 0)
        elif since:
            self._told[why] = (since[0], more + 1)
        level = log.info if is_new else log.debug
        level(
            "contract.delayed",
            source_id=settlement.claimed.source_id,
            reference=settlement.claimed.reference,
            status=settlement.http_status,
            reason=why,
            seconds=round(seconds, 3),
            **({"others": more} if is_new and more else {}),
        )

    def _forget(self, now: datetime) -> None:
        self._told = {why: at for why, at in self._told.items() if now - at[0] < 2 * TOLD_EVERY}
