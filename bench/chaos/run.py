"""One run: a storm of kills, crashes and faults, then rest, then the judgement of both."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from bench.chaos.daemon import ChaosDaemon
from bench.chaos.judge import (
    Contracts,
    Findings,
    Kill,
    Put,
    by_account,
    differences,
    judge,
    puts_of,
)
from bench.chaos.source import ChaosSource, chaos_source
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
    """A source that is written to, a daemon that is killed, a sandbox that fails."""

    def __init__(self, source: ChaosSource, sandbox: Sandbox, daemon: ChaosDaemon, seed: int):
        self.source = source
        self.sandbox = sandbox
        self.daemon = daemon
        self.writers = Writers(source, seed)
        self.chance = random.Random(seed)
        self.kills: list[Kill] = []
        self.crashes = 0
        self.ended: list[str] = []  #: daemons that ended by themselves, or not well

    def storm(self, kills: int | None, seconds: float | None) -> None:
        """Kills until it has been so often, or so long."""
        until = time.monotonic() + (seconds or float("inf"))
        self.sandbox.strike(*FAULTS)
        self.daemon.start()
        # A first scan finds whatever is there; it is polls that must not lose anything.
        wait_until(self.daemon.has_watermark, "the first scan has ended", FIRST_SCAN_SECONDS)
        self.writers.start()
        while len(self.kills) < (kills or float("inf")) and time.monotonic() < until:
            self._let_live()
            if self.chance.random() < 1 / CRASH_EVERY:
                self.source.crash()
                self.crashes += 1
                self._let_live()
            self._note_end()
            self.kills.append(self.daemon.kill())
            self.daemon.start()

    def settle(self) -> dict[str, list[str]]:
        """No more changes and faults: what source and CustomerGauge differ in, in the end."""
        self.writers.stop()
        self.sandbox.strike()
        rows = self.source.contracts()
        for _ in range(2):  # the second begins after the first has ended, and so sees everything
            self._await_poll()
        self._wait(lambda: self._rests(rows), SETTLE_SECONDS)
        due = self.daemon.rest().due
        self._note_end()
        if code := self.daemon.stop():
            self.ended.append(f"exit code {code} after SIGTERM")
        return self._differences(rows) | {"still_due": [f"{due} contracts"] if due else []}

    def close(self) -> None:
        """Ends what is still there."""
        self.daemon.stop()
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
        if (code := self.daemon.died()) is not None:
            self.ended.append(f"exit code {code} by itself")

    def _await_poll(self) -> None:
        since = datetime.now(UTC)
        self._wait(
            lambda: (began := self.daemon.poll_began()) is not None and began > since, POLL_SECONDS
        )

    def _wait(self, happened: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.daemon.died() is None and not happened():
            time.sleep(0.02)

    def _rests(self, rows: Contracts) -> bool:
        """Whether nothing is on its way any more that could mend a difference."""
        due, later = self.daemon.rest()
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
        config = _configuration(folder / "config.yaml", source, sandbox)
        chaos = Chaos(source, sandbox, ChaosDaemon(config, options.double), options.seed)
        stack.callback(chaos.close)
        kills = options.kills or (None if options.minutes else KILLS)
        chaos.storm(kills, options.minutes and 60 * options.minutes)
        found = chaos.settle()
        puts = puts_of(sandbox.ledger.entries(limit=1_000_000))
        findings = judge(puts, chaos.kills)
        violations = findings.violations | found | {"daemon_ended": chaos.ended}
        figures = _figures(chaos, puts, findings)
        log = (folder / "daemon.log").read_text()
    seconds = round(time.monotonic() - began)
    told = {"seed": options.seed, "double": options.double, "seconds": seconds, **figures}
    print(json.dumps(told | {"violations": {kind: len(v) for kind, v in violations.items()}}))
    _tell(violations, log if chaos.ended else "")
    return int(any(violations.values()))


def _figures(chaos: Chaos, puts: Sequence[Put], findings: Findings) -> dict[str, Any]:
    """What happened, so that a run in which nothing did is seen as such."""
    return {
        "kills": len(chaos.kills),
        "in_doubt_at_kills": sum(len(kill.claimed) for kill in chaos.kills),
        "source_crashes": chaos.crashes,
        "basis": chaos.daemon.basis(),
        "full_scans": chaos.daemon.scans(),
        "transactions": dict(sorted(chaos.writers.transactions.items())),
        "changes": dict(sorted(chaos.writers.changes.items())),
        "rows": len(chaos.source.contracts()),
        "contracts": len(chaos.sandbox.contracts()),
        "puts": len(puts),
        "acknowledged": sum(put.acknowledged for put in puts),
        "answers_in_doubt": dict(sorted(Counter(p.doubt for p in puts if p.doubt).items())),
        "repeats_explained": dict(sorted(findings.repeats.items())),
        "overlaps_after_kill": findings.overlaps_after_kill,
    }


def _tell(violations: dict[str, list[str]], log: str) -> None:
    for kind, stories in violations.items():
        for story in stories[:TOLD]:
            print(f"{kind}: {story}", file=sys.stderr)
    print(log[-4000:], end="", file=sys.stderr)


def _configuration(path: Path, source: ChaosSource, sandbox: Sandbox) -> Path:
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
        customergauge={"rate_limit": "100/s", "timeout": "20s"},
        # A reconcile would mend what polls lost.
        schedule={"poll": "1s", "reconcile": "never"},
        guard={"max_changes": "none"},
        web={"listen": "none"},
    )
