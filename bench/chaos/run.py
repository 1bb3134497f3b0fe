"""One run: a storm of kills, crashes and faults, then rest, then the judgement of both."""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from bench.chaos.daemon import ChaosDaemon
from bench.chaos.fleet import RATE, TIMEOUT_SECONDS, Fleet
from bench.chaos.judge import (
    Contracts,
    Findings,
    Put,
    by_account,
    differences,
    judge,
    puts_of,
)
from bench.chaos.rate import most_in_a_second, too_fast
from bench.chaos.source import ChaosSource, chaos_source
from bench.chaos.state import (
    FileState,
    State,
    basis,
    has_watermark,
    poll_began,
    rest,
    scans,
    server_state,
)
from bench.chaos.writers import Writers
from tests.support.configs import write_config
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.wait import wait_until

ROWS = 400
KILLS = 20  # where nobody says how long
CRASH_EVERY = 6  # kills between two crashes of the source, about
FAULTS = (
    "latency=30ms",
    "latency=600ms share=3%",
    "status=503 share=3%",
    "status=500 share=2%",
    "reset share=2%",
    "lost share=3%",
    "lost=502 share=1%",
    "status=429 retry_after=1 share=0.3%",
)
#: How long a daemon lives at most, and how many of a hundred; but for the young after a first PUT.
LIVES = {"young": (1.2, 25), "sending": (0.7, 65), "old": (3.0, 10)}
FIRST_SCAN_SECONDS = 30.0
FIRST_PUT_SECONDS = 6.0
POLL_SECONDS = 30.0
SETTLE_SECONDS = 180.0
TOLD = 5  # stories of a kind


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
        self.basis: str | None = None
        self.ended: list[str] = []  #: daemons that ended by themselves, or not well

    def storm(self, kills: int | None, seconds: float | None) -> None:
        """Kills until it has been so often, or so long."""
        until = time.monotonic() + (seconds or float("inf"))
        self.sandbox.strike(*FAULTS)
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


def run(options: argparse.Namespace) -> int:
    """One run, told in one line of figures; the exit code."""
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdc-sync-chaos-")))
        source = stack.enter_context(chaos_source(ROWS))
        sandbox = stack.enter_context(running_sandbox())
        several = options.daemons > 1
        state = stack.enter_context(server_state()) if several else FileState(folder)
        config = _configuration(folder / "config.yaml", source, sandbox, state)
        daemons = [ChaosDaemon(config, state, options.double) for _ in range(options.daemons)]
        chaos = Chaos(source, sandbox, state, daemons, options.seed)
        stack.callback(chaos.close)
        kills = options.kills or (None if options.minutes else KILLS)
        chaos.storm(kills, options.minutes and 60 * options.minutes)
        found = chaos.settle()
        puts = puts_of(sandbox.ledger.entries(limit=1_000_000))
        findings = judge(puts, chaos.fleet.events)
        fast = too_fast(puts, RATE if several else 100)
        violations = findings.violations | found | {"daemon_ended": chaos.ended, "too_fast": fast}
        figures = _figures(chaos, puts, findings)
        log = (folder / "daemon.log").read_text()
    seconds = round(time.monotonic() - began)
    told = {
        "seed": options.seed,
        "daemons": options.daemons,
        "double": options.double,
        "seconds": seconds,
        **figures,
    }
    print(json.dumps(told | {"violations": {kind: len(v) for kind, v in violations.items()}}))
    _tell(violations, log if chaos.ended else "")
    return int(any(violations.values()))


def _figures(chaos: Chaos, puts: Sequence[Put], findings: Findings) -> dict[str, Any]:
    """What happened, so that a run in which nothing did is seen as such."""
    return {
        "kills": chaos.fleet.kinds["kill"],
        "in_doubt_at_kills": sum(len(e.claimed) for e in chaos.fleet.events if e.kind == "kill"),
        "source_crashes": chaos.crashes,
        "state_crashes": chaos.fleet.kinds["state_crash"],
        "freezes": chaos.fleet.kinds["freeze"],
        "take_over_seconds": _spread(chaos.fleet.take_overs),
        "basis": chaos.basis,
        "full_scans": scans(chaos.state),
        "transactions": dict(sorted(chaos.writers.transactions.items())),
        "changes": dict(sorted(chaos.writers.changes.items())),
        "rows": len(chaos.source.contracts()),
        "contracts": len(chaos.sandbox.contracts()),
        "puts": len(puts),
        "acknowledged": sum(put.acknowledged for put in puts),
        "answers_in_doubt": dict(sorted(Counter(p.doubt for p in puts if p.doubt).items())),
        "repeats_explained": dict(sorted(findings.repeats.items())),
        "overlaps_explained": dict(sorted(findings.overlaps.items())),
        "backwards_mended": findings.backwards,
        "most_puts_in_a_second": most_in_a_second(puts),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    told = {"median": statistics.median(seconds), "longest": max(seconds)}
    return {name: round(value, 2) for name, value in told.items()} | {"measured": len(seconds)}


def _tell(violations: dict[str, list[str]], log: str) -> None:
    for kind, stories in violations.items():
        for story in stories[:TOLD]:
            print(f"{kind}: {story}", file=sys.stderr)
    print(log[-4000:], end="", file=sys.stderr)


def _configuration(path: Path, source: ChaosSource, sandbox: Sandbox, state: State) -> Path:
    api = {"rate_limit": "100/s", "timeout": "20s"}
    if not isinstance(state, FileState):  # the lease is three times the time-out
        api = {"rate_limit": f"{RATE}/s", "timeout": f"{TIMEOUT_SECONDS:g}s"}
    return write_config(
        path,
        source.reader_url,
        sandbox.url,
        # Small enough that pages, long transactions and what is claimed ahead all come about.
        source={
            "lookback": "2m",
            "clock_margin": "2s",
            "long_transaction": "2s",
            "page_size": 50,
        },
        # A reference that would be another one after most updates, were it not kept.
        mapping={"reference": "erp-{id}-{color}"},
        customergauge=api,
        state={"url": state.url},
        # A reconcile would mend what polls lost.
        schedule={"poll": "1s", "reconcile": "never"},
        guard={"max_changes": "none"},
        web={"listen": "none"},
    )
