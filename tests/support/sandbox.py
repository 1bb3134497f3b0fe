"""The sandbox over real HTTP, with what a test asks of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cdc_sync.sandbox.app import sandbox_app
from cdc_sync.sandbox.faults import Faults, parse_fault
from cdc_sync.sandbox.ledger import Entry, Ledger
from cdc_sync.web.server import serving


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that runs: its address, what it holds and what strikes it."""

    url: str
    ledger: Ledger
    faults: Faults

    def contracts(self) -> dict[str, dict[str, Any]]:
        """What it holds, by reference."""
        held: dict[str, dict[str, Any]] = self.ledger.dump()["contracts"]
        return held

    def puts(self, reference: str | None = None) -> list[Entry]:
        """The PUTs that were applied, in order."""
        entries = self.ledger.entries(limit=1_000_000)
        return [e for e in entries if e.applied and reference in (None, e.reference)]

    def strike(self, *faults: str) -> None:
        """These faults from now on, and no others."""
        self.faults.replace([parse_fault(fault) for fault in faults])


@contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """A sandbox on a free port."""
    ledger, faults = Ledger(), Faults()
    with serving(sandbox_app(ledger, faults, **options), "127.0.0.1", 0) as url:
        yield Sandbox(url, ledger, faults)
