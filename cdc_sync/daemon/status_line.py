"""The one line that `systemctl status` shows of a running daemon."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cdc_sync.capture.loop import LastPoll
from cdc_sync.contract import Status

_SHOWN_IF_ANY = (Status.PENDING, Status.REJECTED, Status.WAITING, Status.HELD)


def status_line(
    counts: Mapping[Status, int],
    polls: Sequence[str],
    troubles: Iterable[str | None],
) -> str:
    """What is wrong, if anything is; then counts, and how the polls stand."""
    shown = [Status.SYNCED, *(status for status in _SHOWN_IF_ANY if counts[status])]
    wrong = [trouble.rstrip(".") for trouble in troubles if trouble]
    parts = [*wrong, ", ".join(f"{status.value} {counts[status]:,}" for status in shown), *polls]
    return "; ".join(parts).replace("\n", " ")


def polls_of(last: LastPoll | None, lag: float | None, now: datetime) -> list[str]:
    """How long ago the last poll was, and how far behind the source."""
    if last is None:
        return ["no poll yet"]
    ago = (now - (last.run.finished or last.run.started)).total_seconds()
    said = [f"last poll {max(0.0, ago):.0f} s ago"]
    return said if lag is None or last.run.error else [*said, f"lag {lag:.0f} s"]
