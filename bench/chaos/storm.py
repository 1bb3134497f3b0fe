"""The storm of kills, crashes and faults, and the rest after it."""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from bench.chaos.daemon import ChaosDaemon
from bench.chaos.fleet import Fleet
from bench.chaos.judge import (
    Contracts,
    by_account,
    differences,
)
from bench.chaos.source import ChaosSource
from bench.chaos.state import (
    State,
    basis,
    has_watermark,
    poll_began,
    rest,
)
from bench.chaos.writers import Writers
from tests.support.sandbox import Sandbox
from tests.support.wait import wait_until

CRASH_EVERY = 6  # kills between two crashes of the source, about
FAULTS = (
    "latency=30ms",
    "latency=600ms share=3%",
    "status=503 share=3%",
    "status=500 share=2%",
    "reset share=2%",
    "lost share=3%",
    "lost=502 share=1%",
)
# Not more often: a 429 that has nothing to do with the rate makes it fall all the same.
THROTTLED = "status=429 retry_after=1 share=0.05%"
#: Where one daemon alone sends: a limit of theirs below our own.
LIMITED = "rate=60/s"
#: How long a daemon lives at most, and how many of a hundred; but for the young after a first PUT.
LIVES = {"young": (1.2, 25), "sending": (0.7, 65), "old": (3.0, 10)}
FIRST_SCAN_SECONDS = 30.0
FIRST_PUT_SECONDS = 6.0
POLL_SECONDS = 30.0
SETTLE_SECONDS = 180.0


class Chaos:
    """A source that is written to, daemons that are killed, a sandbox that fails."""

    def __init__(
        self,
        source: ChaosSource,
        sandbox: Sandbox,
        state: State,
        daemons: Sequence[ChaosDaemon],
        seed: int,
    ):
        self.source = source
        self.sandbox = sandbox
        self.state = state
        self.writers = Writers(source, seed)
        self.chance = random.Random(seed)
        self.fleet = Fleet(daemons, state, self.chance)
        self.crashes = 0
        self.faults = (*FAULTS, THROTTLED, *([LIMITED] if len(daemons) == 1 else []))
        self.basis: str | None = None
        self.ended: list[str] = []  #: daemons that ended by themselves, or not well

    def storm(self, kills: int | None, seconds: float | None) -> None:
        """Kills until it has been so often, or so long."""
        until = time.monotonic() + (seconds or float("inf"))
        self.sandbox.strike(*self.faults)
        self.fleet.start()
        # A first scan finds whatever is there; it is polls that must not lose anything.
        has_ended = partial(has_watermark, self.state)
        wait_until(has_ended, "the first scan has ended", FIRST_SCAN_SECONDS)
        self.writers.start()
        while self.fleet.kinds["kill"] < (kills or float("inf")) and time.monotonic() < until:
            self._let_live()
            if self.chance.random() < 1 / CRASH_EVERY:
                self.source.crash()
                self.crashes += 1
                self._let_live()
            self._note_end()
            self.fleet.strike()
        self.fleet.rest()

    def settle(self) -> dict[str, list[str]]:
        """No more changes and faults: what source and CustomerGauge differ in, in the end."""
        self.writers.stop()
        self.sandbox.strike()
        rows = self.source.contracts()
        for _ in range(2):  # the second begins after the first has ended, and so sees everything
            self._await_poll()
        self._wait(lambda: self._rests(rows), SETTLE_SECONDS)
        due = rest(self.state).due
        self._note_end()
        roles, self.basis = self.fleet.unshown(), basis(self.state)
        self.ended += [f"exit code {code} after SIGTERM" for code in self.fleet.stop()]
        return self._differences(rows) | {
            "still_due": [f"{due} contracts"] if due else [],
            "roles": roles,
            "still_claimed": self.fleet.left_claimed(),
        }

    def close(self) -> None:
        """Ends what is still there."""
        self.fleet.stop()
        self.writers.stop()

    def _let_live(self) -> None:
        lives, weights = list(LIVES), [weight for _, weight in LIVES.values()]
        life = self.chance.choices(lives, weights)[0]
        if life != "young":
            before = self._logged()
            self._wait(lambda: self._logged() > before, FIRST_PUT_SECONDS)
        # The instant of a kill is chance's, not that of an event.
        time.sleep(self.chance.uniform(0.0, LIVES[life][0]))

    def _logged(self) -> int:
        newest = self.sandbox.ledger.latest(1)
        return newest[0].sequence if newest else 0

    def _note_end(self) -> None:
        self.ended += [f"exit code {code} by itself" for code in self.fleet.died()]

    def _await_poll(self) -> None:
        since = datetime.now(UTC)
        self._wait(
            lambda: (began := poll_began(self.state)) is not None and began > since, POLL_SECONDS
        )

    def _wait(self, happened: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.fleet.died() and not happened():
            time.sleep(0.02)

    def _rests(self, rows: Contracts) -> bool:
        """Whether nothing is on its way any more that could mend a difference."""
        due, later = rest(self.state)
        different = chain(*self._differences(rows).values())
        return due == 0 and not any(
            account in rows and later.get(account) == rows[account] for account in different
        )

    def _differences(self, rows: Contracts) -> dict[str, list[str]]:
        return differences(rows, by_account(self.sandbox.contracts().values()), self.writers.gone)
