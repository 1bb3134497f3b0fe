"""What the demo shows while it runs, and the summary that proves agreement."""

import json
import sqlite3
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdc_sync.clock import utc_now
from cdc_sync.contract import REFUSED, Status
from cdc_sync.demo.source import Change, ChangeKind
from cdc_sync.operations.status import read_status
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.state import contracts, history
from cdc_sync.state.database import Database
from cdc_sync.wording import format_problems

SHOWN = 12
WIDEST = 40  # characters of the words on one change


class View:
    """The counts, and the latest things that happened: PUTs, touches without a PUT, refusals."""

    def __init__(self, state: Database, ledger: Ledger) -> None:
        self._state = state
        self._ledger = ledger
        self._lines: deque[str] = deque(maxlen=SHOWN)
        self._last_delivery = 0
        self._last_refusal = datetime.min.replace(tzinfo=UTC)
        self._puts = 0
        self._at = time.monotonic()

    def add_change(self, change: Change) -> None:
        """Adds a row that was saved again although nothing differs."""
        if change.kind is ChangeKind.TOUCHED:
            reference = f"demo-{change.contract_id}"
            line = _line(utc_now(), "", reference, "touched, nothing differs", "no PUT")
            self._lines.append(line)

    def text(self) -> str:
        """Returns the counts and the latest lines, with what happened since the last call."""
        document = read_status(self._state, utc_now())
        counts, lag = document["contracts"], document["watermark"]["lag_seconds"]
        total = sum(count for name, count in counts.items() if name != Status.GONE)
        head = (
            f"  contracts {total}   synced {counts['synced']}   pending {counts['pending']}"
            f"   rejected {counts['rejected']}   lag {lag or 0:.1f} s"
            f"   {self._puts_per_second():.0f} PUT/s"
        )
        self._lines.extend([*self._new_puts(), *self._new_refusals()])
        return "\n".join([head, *self._lines])

    def _puts_per_second(self) -> float:
        puts, now = self._ledger.dump()["puts"], time.monotonic()
        rate: float = (puts - self._puts) / max(0.001, now - self._at)
        self._puts, self._at = puts, now
        return rate

    def _new_puts(self) -> list[str]:
        with self._state.read() as tx:
            latest = history.list_latest_deliveries(tx, SHOWN)
        new = [row for row in reversed(latest) if row["id"] > self._last_delivery]
        self._last_delivery = max([self._last_delivery, *(row["id"] for row in new)])
        return [
            _line(
                row["at"], "PUT", row["reference"], _diff(row["changed"]), str(row["http_status"])
            )
            for row in new
        ]

    def _new_refusals(self) -> list[str]:
        with self._state.read() as tx:
            refused = contracts.list_page(tx, Status.REJECTED, None, 1000)
        new = [row for row in refused if row["changed_at"] > self._last_refusal]
        self._last_refusal = max([self._last_refusal, *(row["changed_at"] for row in new)])
        return [
            _line(
                row["changed_at"], "refused", row["reference"] or row["source_id"], _reason(row), ""
            )
            for row in new[-SHOWN // 2 :]
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """How many contracts differ between the source and CustomerGauge, and the proof in words."""

    differences: int
    text: str


def summarise(source: Path, ledger: Ledger, state: Database) -> Summary:
    """Compares every row with what the sandbox holds, without the program's own mapping."""
    held: dict[str, dict[str, Any]] = ledger.dump()["contracts"]
    with state.read() as tx:
        counts = contracts.count_by_status(tx)
        found = [contracts.list_page(tx, status, None, 10_000) for status in REFUSED]
    refused = {row["source_id"]: row for rows in found for row in rows}
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT id, account_name, start_date, end_date, plan FROM contracts"
            " WHERE deleted_at IS NULL"
        ).fetchall()
    differences = sum(
        _expected(row) != held.get(f"demo-{row[0]}") for row in rows if str(row[0]) not in refused
    )
    names = (Status.SYNCED, Status.PENDING, Status.REJECTED)
    parts = " + ".join(f"{counts[name]} {name}" for name in names)
    count = len(rows)
    unexplained = count - sum(counts[one] for one in Status if one is not Status.GONE)
    balance = f"{count} rows = {parts}; unexplained {unexplained}"
    both = f"contracts in the source {count}, in CustomerGauge {len(held)}"
    lines = [
        f"  {balance}; CustomerGauge differs in {differences}",
        f"  {both}, differences {differences}",
        *(f"  refused demo-{name}   {_reason(row)}" for name, row in refused.items()),
    ]
    return Summary(differences, "\n".join(lines))


def _expected(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "reference": f"demo-{row[0]}",
        "account": row[1].strip(),
        "start": row[2],
        "end": row[3],
        "description": (row[4] or "").strip()[:150],
    }


def _reason(row: dict[str, Any]) -> str:
    return format_problems(json.loads(row["last_error"] or "[]"))


def _diff(changed: str | None) -> str:
    pairs = json.loads(changed or "{}")
    if len(pairs) > 2:
        return f"new: {pairs.get('account', ['', ''])[1]}"
    return ", ".join(f"{name} {old or '—'} → {new or '—'}" for name, (old, new) in pairs.items())


def _line(at: datetime, what: str, reference: str, words: str, end: str) -> str:
    text = words if len(words) <= WIDEST or not end else f"{words[: WIDEST - 1]}…"
    return (
        f"  {at.astimezone():%H:%M:%S}  {what:<8}{reference:<10}{text:<{WIDEST + 2}}{end}".rstrip()
    )
