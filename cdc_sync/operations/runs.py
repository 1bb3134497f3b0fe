"""What `once`, `reconcile` and `discard` do, here or in a daemon, and what each reports."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from cdc_sync.capture.loop import Loops, save_last_poll
from cdc_sync.contract import Status
from cdc_sync.errors import CdcSyncError
from cdc_sync.state import contracts, control, history
from cdc_sync.state.history import Run
from cdc_sync.state.values import Balance
from cdc_sync.sync import Sync
from cdc_sync.wording import format_count

_FOR_PEOPLE = ("why", "adopted", "there", "recreated", "missed", "balance", "rechecked", "taken")
_UPDATES = ("updated", "confirmed", "adopted", "recreated")
NAMED_ADOPTED = 3  # so many adopted references are named
Progress = Callable[[], None]

#: What a command does, and the running daemon when a command asks it to.
RUNS: dict[str, Callable[[Loops, threading.Event], Run]] = {
    "once": lambda loops, stop: loops.polls.poll(stop),
    "reconcile": lambda loops, stop: loops.reconciles.reconcile(stop),
    "discard": lambda loops, stop: loops.reconciles.recheck_held(stop),
}


def run_here(
    sync: Sync, kind: str, stop: threading.Event, limit: int | None, progress: Progress
) -> dict[str, Any]:
    """Runs it in this process, delivers until nothing is due (at most `limit`), and reports."""
    loops = Loops.of(sync.capture)
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
    with sync.state.read() as tx:
        match kind:
            case "once":
                return {**report, "taken": history.taken_since(tx, began)}
            case "reconcile":
                return {**report, "balance": control.load(tx, Balance)}
            case _:
                return {**report, "rechecked": run.rows}


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
        why = contracts.find_example_error(tx, Status.PENDING) if counts[Status.PENDING] else None
    return {
        "rows": run.rows,
        "created": delivered["created"],
        "updated": sum(delivered[kind] for kind in _UPDATES),
        "adopted": adopted,
        "there": list(sync.delivery.adopted)[-adopted:] if adopted else [],
        "recreated": delivered["recreated"],
        "missed": run.missed,
        "unchanged": run.unchanged,
        "rejected": counts[Status.REJECTED],
        "waiting": counts[Status.WAITING],
        "held": counts[Status.HELD],
        "gone": run.gone,
        "left": counts[Status.PENDING],
        "why": why,
        "error": run.error or sync.delivery.stopped_by(),
    }


def public_part(report: dict[str, Any]) -> dict[str, Any]:
    """Returns the report with the keys that `--json` promises, and no others."""
    return {name: value for name, value in report.items() if name not in _FOR_PEOPLE}


def is_complete(report: dict[str, Any], limit: int | None = None) -> bool:
    """Whether all was delivered, except for what `--limit` left."""
    left = report["left"] if limit is None else 0
    return not (
        left or report["rejected"] or report["waiting"] or report["held"] or report["error"]
    )


def describe_report(report: dict[str, Any], limit: int | None = None) -> str:
    """Says in a few sentences what a run did, and what needs attention."""
    plain = report["updated"] - report["adopted"] - report["recreated"]
    done = [
        f"{count:,} {name}"
        for name, count in (
            ("created", report["created"]),
            ("updated", plain),
            (f"adopted ({_describe_adopted(report)})", report["adopted"]),
            ("recreated (CustomerGauge had lost them)", report["recreated"]),
        )
        if count
    ]
    text = ", ".join(done) or ("Nothing was sent" if report["left"] else "Nothing to send")
    if report["left"]:
        text += f", {format_count(report['left'], 'waits', 'wait')}"
    text += "."
    text += _describe_left(report, limit if done else None)
    if report.get("rechecked"):
        count = format_count(report["rechecked"], "held contract")
        text += f"\n{count} looked at afresh in the source."
    if report["gone"]:
        text += f"\n{report['gone']:,} gone from the source."
    if balance := report.get("balance"):
        text += f"\n{describe_balance(balance)}"
    if report["rejected"]:
        text += f"\n{report['rejected']:,} rejected: cdc-sync contracts list --status rejected"
    if report["waiting"]:
        count = format_count(report["waiting"], "waits for its", "wait for their")
        text += f"\n{count} account: cdc-sync contracts list --status waiting"
    if report["missed"]:
        count = format_count(report["missed"], "change")
        text += f"\n{count} found that no poll had seen, with stamps"
        text += " behind the watermark: does every change move the watermark column?"
    if report["held"]:
        text += f"\n{report['held']:,} held by the guard: cdc-sync approve, or cdc-sync discard"
    if report["error"]:
        text += f"\n{report['error']}"
    return text


def _describe_left(report: dict[str, Any], limit: int | None) -> str:
    if limit is not None and report["left"]:
        taken = " … ".join(report.get("taken") or ["them"])
        return f" Look at {taken} in CustomerGauge; then: cdc-sync once, or start the service."
    if report["left"] and not report["error"]:
        why = f"Why: {report['why'].rstrip('.')}. See" if report.get("why") else "Why they wait"
        return f"\n{why}: cdc-sync contracts list --status pending"
    return ""


def _describe_adopted(report: dict[str, Any]) -> str:
    names = [*report["there"][:NAMED_ADOPTED]]
    if more := report["adopted"] - len(names):
        names.append(f"{more:,} more")
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{listed} {'were' if report['adopted'] > 1 else 'was'} there already"


def describe_balance(balance: Balance) -> str:
    """Says in one line how the rows of a full scan are accounted for."""
    names = [status.value for status in Status if status is not Status.GONE]
    parts = " + ".join(f"{getattr(balance, name):,} {name}" for name in names)
    return f"{format_count(balance.rows, 'row')} = {parts}; unexplained {balance.unexplained:,}"
