"""One run: a storm of kills, crashes and faults, then rest, then the judgement of both."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.chaos.daemon import ChaosDaemon
from bench.chaos.fleet import RATE, TIMEOUT_SECONDS
from bench.chaos.judge import (
    Findings,
    Put,
    judge,
    puts_of,
)
from bench.chaos.rate import most_in_a_second, too_fast
from bench.chaos.source import ChaosSource, chaos_source
from bench.chaos.state import (
    FileState,
    State,
    scans,
    server_state,
)
from bench.chaos.storm import Chaos
from tests.support.configs import write_config
from tests.support.sandbox import Sandbox, running_sandbox

ROWS = 400
KILLS = 20  # where nobody says how long
TOLD = 8  # stories of a kind


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
            "sweeps": "none",
        },
        # A reference that would be another one after most updates, were it not kept.
        mapping={"reference": "erp-{id}-{color}"},
        customergauge=api,
        state={"url": state.url},
        # A sweep or a reconcile would mend what polls lost.
        schedule={"poll": "1s", "reconcile": "never"},
        guard={"max_changes": "none"},
        web={"listen": "none"},
    )
