"""The one line that `systemctl status` shows of a running daemon."""

from collections.abc import Mapping
from datetime import datetime

from cdc_sync.capture.loop import LastPoll
from cdc_sync.contract import Status

_SHOWN_IF_ANY = (Status.PENDING, Status.REJECTED, Status.WAITING, Status.HELD)


def status_line(
    counts: Mapping[Status, int],
    last: LastPoll | None,
    lag: float | None,
    now: datetime,
    troubles: list[str],
) -> str:
    """Counts, how long ago a poll was and how far behind it is; what is wrong comes first."""
    shown = [Status.SYNCED, *(status for status in _SHOWN_IF_ANY if counts[status])]
    parts = [", ".join(f"{status.value} {counts[status]:,}" for status in shown)]
    if last is None:
        parts.append("no poll yet")
    elif last.run.error:
        troubles = [*troubles, last.run.error]
    else:
        ago = (now - (last.run.finished or last.run.started)).total_seconds()
        parts.append(f"last poll {max(0.0, ago):.0f} s ago")
        if lag is not None:
            parts.append(f"lag {lag:.0f} s")
    return "; ".join([*(trouble.rstrip(".") for trouble in troubles), *parts]).replace("\n", " ")
