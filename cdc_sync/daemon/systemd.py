"""sd_notify(3) and the watchdog's interval; nothing where systemd did not start us."""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from cdc_sync.capture.loop import LastPoll
from cdc_sync.contract import Status

_SHOWN_IF_ANY = [one for one in Status if one not in (Status.SYNCED, Status.GONE)]


def notify(**fields: str) -> None:
    """Sends systemd these fields, by their names in sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    # A systemd that does not listen is no reason to stop.
    with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(message.encode())


def watchdog_seconds() -> float | None:
    """Returns how often systemd wants a sign of life; None where it does not watch this process."""
    micros = os.environ.get("WATCHDOG_USEC")
    if not micros or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(micros) / 1_000_000


def format_status_line(
    counts: Mapping[str, int], polls: Sequence[str], troubles: Iterable[str | None]
) -> str:
    """Returns the line of `systemctl status`: what is wrong, then counts, then the polls."""
    shown = [Status.SYNCED, *(status for status in _SHOWN_IF_ANY if counts[status])]
    wrong = [trouble.rstrip(".") for trouble in troubles if trouble]
    parts = [*wrong, ", ".join(f"{status.value} {counts[status]:,}" for status in shown), *polls]
    return "; ".join(parts).replace("\n", " ")


def describe_polls(last: LastPoll | None, lag: float | None, now: datetime) -> list[str]:
    """Says how long ago the last poll was, and how far behind the source."""
    if last is None:
        return ["no poll yet"]
    ago = (now - (last.run.finished or last.run.started)).total_seconds()
    parts = [f"last poll {max(0.0, ago):.0f} s ago"]
    return parts if lag is None else [*parts, f"lag {lag:.0f} s"]
