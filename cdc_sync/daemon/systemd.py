"""sd_notify(3) and the watchdog's interval; nothing where systemd did not start us."""

import os
import socket
from contextlib import suppress


def notify(**fields: str) -> None:
    """Tells systemd these fields, by their names in sd_notify(3)."""
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
    """How often systemd wants a sign of life; None where it does not watch us."""
    micros = os.environ.get("WATCHDOG_USEC")
    if not micros or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(micros) / 1_000_000
