"""What `once`, `reconcile` and `discard` do, here or in a daemon, and what each reports."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from cdc_sync.capture.loop import Loops, save_last_poll
from cdc_sync.config.units import Rate
from cdc_sync.contract import Status
from cdc_sync.errors import CdcSyncError
from cdc_sync.operations.status import (
    HELD,
    REJECTED,
    describe_late,
    describe_waiting,
    missing_accounts,
)
from cdc_sync.state import contracts, control, history
from cdc_sync.state.history import Run
from cdc_sync.state.values import Balance
from cdc_sync.sync import Sync
from cdc_sync.wording import format_balance, format_count, format_seconds

_FOR_PEOPLE = (
    "why",
    "interrupted",
    "missing_accounts",
    "adopted",
    "there",
    "recreated",
    "missed",
    "late",
    "late_seconds",
    "balance",
    "rechecked",
    "taken",
)
_UPDATES = ("updated", "confirmed", "adopted", "recreated")
NAMED_ADOPTED = 3  # so many adopted references are named
Progress = Callable[[], None]

#: What a command does, and the running daemon when a command asks it to.
RUNS: dict[str, Callable[[Loops, threading.Event], Run]] = {
    "once": lambda loops, stop: loops.poll_and_sweep(stop),
    "reconcile": lambda loops, stop: loops.reconciles.reconcile(stop),
    "discard": lambda loops, stop: loops.reconciles.recheck_held(stop),
}


def run_here(
    sync: Sync, kind: str, stop: threading.Event, limit: int | None, progress: Progress
) -> dict[str, Any]:
    """Runs it in this process, delivers until nothing is due (at most `limit`), and reports."""
    loops = Loops(sync.capture)
    before = Counter(sync.delivery.counts)
    try:
        run = RUNS[kind](loops, stop)
    finally:
        if kind == "once":
            save_last_poll(sync.capture, loops.polls.last)
    began = sync.capture.now()
    sync.delivery.allowance = limit
    sync.delivery.drain(stop, progress)
    report = build_report(sync, run, before)
    report["interrupted"] = stop.is_set()
    with sync.state.read() as tx:
        match kind:
            case "once":
                report["taken"] = history.taken_since(tx, began)
            case "reconcile":
                report["balance"] = control.load(tx, Balance)
            case _:
                report["rechecked"] = run.rows
    return report


def report_failure(sync: Sync, kind: str, error: CdcSyncError) -> dict[str, Any]:
    """Returns the report of a run that could not read the source, and delivered nothing."""
    now = sync.capture.now()
    run = Run(kind, now).ended(now, str(error))
    return build_report(sync, run, Counter(sync.delivery.counts))


def build_report(sync: Sync, run: Run, before: Counter[str]) -> dict[str, Any]:
    """Returns the report of a run and of what was delivered since the counts `before`."""
    delivered = sync.delivery.counts - before
    adopted = delivered["adopted"]
    with sync.state.read() as tx:
        counts = contracts.count_by_status(tx)
        accounts = missing_accounts(tx) if counts[Status.WAITING] else []
        why = contracts.find_example_error(tx, Status.PENDING) if counts[Status.PENDING] else None
    return {
        "rows": run.rows,
        "created": delivered["created"],
        "updated": sum(delivered[kind] for kind in _UPDATES),
        "adopted": adopted,
        "there": list(sync.delivery.adopted)[-adopted:] if adopted else [],
        "recreated": delivered["recreated"],
        "missed": run.missed,
        "late": run.late,
        "late_seconds": run.late_seconds,
        "unchanged": run.unchanged,
        "rejected": counts[Status.REJECTED],
        "accepted": counts[Status.ACCEPTED],
        "waiting": counts[Status.WAITING],
        "missing_accounts": accounts,
        "held": counts[Status.HELD],
        "gone": run.gone,
        "left": counts[Status.PENDING],
        "why": why,
        "error": run.error or sync.delivery.stopped_by(),
    }


def public_part(report: dict[str, Any]) -> dict[str, Any]:
    """Returns the report with the keys that `--json` promises, and no others."""
    return {name: value for name, value in report.items() if name not in _FOR_PEOPLE}


def describe_sending(puts: int, limit: Rate | None) -> str | None:
    """Says how long so many PUTs take at the rate limit; None for less than a minute."""
    if limit is None or puts < 60 * limit.per_second:
        return None
    length = format_seconds(puts / limit.per_second)
    return f"{puts:,} PUTs take about {length} at {limit.per_second:g}/s"


def is_complete(report: dict[str, Any], limit: int | None = None) -> bool:
    """Whether all was delivered, except for what `--limit` left."""
    left = report["left"] if limit is None else 0
    return not (
        report.get("interrupted")
        or left
        or report["rejected"]
        or report["waiting"]
        or report["held"]
        or report["error"]
    )


def describe_report(report: dict[str, Any], limit: int | None = None) -> str:
    """Says in a few sentences what a run did, and what needs attention."""
    rechecked, balance = report.get("rechecked", 0), report.get("balance")
    waiting, missed = report["waiting"], report["missed"]
    lines = (
        _describe_sent(report, limit),
        rechecked and f"{format_count(rechecked, 'held contract')} read again from the source.",
        report["gone"] and f"{report['gone']:,} gone from the source.",
        balance and describe_balance(balance),
        report["rejected"] and f"{report['rejected']:,} {REJECTED}",
        waiting and describe_waiting(waiting, report["missing_accounts"]),
        report["late"] and f"{describe_late(report['late'], report['late_seconds'])}.",
        missed
        and f"{format_count(missed, 'change')} found that no poll had seen, with stamps"
        " behind the watermark: does every change move the watermark column?",
        report["held"] and f"{report['held']:,} {HELD}",
        report["error"] != history.STOPPED and report["error"],
    )
    return "\n".join(line for line in lines if line)


def _describe_sent(report: dict[str, Any], limit: int | None) -> str:
    counts = {
        "created": report["created"],
        "updated": report["updated"] - report["adopted"] - report["recreated"],
        f"adopted ({_describe_adopted(report)})": report["adopted"],
        "recreated (CustomerGauge had lost them)": report["recreated"],
    }
    sent = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if not report["left"] and not report.get("interrupted"):
        return f"{sent or 'Nothing to send'}."
    text = f"{sent or 'Nothing was sent'}, {format_count(report['left'], 'waits', 'wait')}."
    if report.get("interrupted"):
        return f"Interrupted: {text} Nothing is lost; the next run goes on from there."
    if sent and limit is not None:
        taken = " … ".join(report.get("taken") or ["them"])
        return (
            f"{text} Look at {taken} in CustomerGauge; then: cdc-sync once, or start the service."
        )
    if report["error"]:
        return text
    why = f"Why: {report['why'].rstrip('.')}. See" if report.get("why") else "Why they wait"
    return f"{text}\n{why}: cdc-sync contracts list --status pending"


def _describe_adopted(report: dict[str, Any]) -> str:
    names = report["there"][:NAMED_ADOPTED]
    if more := report["adopted"] - len(names):
        names.append(f"{more:,} more")
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{listed} {'were' if report['adopted'] > 1 else 'was'} there already"


def describe_balance(balance: Balance) -> str:
    """Says in one line how the rows of a full scan are accounted for."""
    names = [status.value for status in Status if status is not Status.GONE]
    counts = {name: getattr(balance, name) for name in names}
    return format_balance(balance.rows, counts, balance.unexplained)
