"""What the demo shows while it runs, and the summary that proves agreement."""

import json
import sqlite3
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdc_sync.contract import Status
from cdc_sync.demo.source import Change, ChangeKind
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.state import contracts, history
from cdc_sync.state.database import Database
from cdc_sync.wording import format_problems

SHOWN = 12
WIDEST = 40  # characters of what is told of one change


class Events:
    """The latest things that happened: PUTs, touches without a PUT, refusals."""

    def __init__(self, state: Database) -> None:
        self._state = state
        self._lines: deque[str] = deque(maxlen=SHOWN)
        self._last_delivery = 0
        self._last_refusal = datetime.min.replace(tzinfo=UTC)

    def touched(self, change: Change, at: datetime) -> None:
        """A row was saved again and nothing differs."""
        if change.kind is ChangeKind.TOUCHED:
            self._lines.append(
                _line(at, "", f"demo-{change.contract_id}", "touched, nothing differs", "no PUT")
            )

    def look(self) -> list[str]:
        """Takes in what was delivered and refused since; the lines that are new."""
        new = [*self._puts(), *self._refusals()]
        self._lines.extend(new)
        return list(self._lines)

    def _puts(self) -> list[str]:
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

    def _refusals(self) -> list[str]:
        with self._state.read() as tx:
            refused = contracts.list_page(tx, Status.REJECTED, None, 1000)
        new = [row for row in refused if row["changed_at"] > self._last_refusal]
        self._last_refusal = max([self._last_refusal, *(r["changed_at"] for r in new)])
        return [
            _line(
                row["changed_at"], "refused", row["reference"] or row["source_id"], _reason(row), ""
            )
            for row in new[-SHOWN // 2 :]
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """Source and CustomerGauge, held against each other at the end."""

    rows: int
    held: int
    differences: int
    refusals: tuple[str, ...]
    counts: dict[Status, int]

    def text(self) -> str:
        """The proof in words."""
        of, rows, differ = self.counts, self.rows, self.differences
        names = (Status.SYNCED, Status.PENDING, Status.REJECTED)
        parts = " + ".join(f"{of[name]} {name}" for name in names)
        unexplained = rows - sum(of[status] for status in Status if status is not Status.GONE)
        balance = f"{rows} rows = {parts}; unexplained {unexplained}"
        lines = [
            f"  {balance}; CustomerGauge differs in {differ}",
            f"  contracts in the source {rows}, in CustomerGauge {self.held}, differences {differ}",
            *(f"  refused {refusal}" for refusal in self.refusals),
        ]
        return "\n".join(lines)


def summarise(source: Path, ledger: Ledger, state: Database) -> Summary:
    """Compares every row with what the sandbox holds, without the program's own mapping."""
    held: dict[str, dict[str, Any]] = ledger.dump()["contracts"]
    with state.read() as tx:
        counts = contracts.count_by_status(tx)
        refused = {
            row["source_id"]: row for row in contracts.list_page(tx, Status.REJECTED, None, 10_000)
        }
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT id, account_name, start_date, end_date, plan FROM contracts"
            " WHERE deleted_at IS NULL"
        ).fetchall()
    connection.close()
    differences = sum(
        _expected(row) != held.get(f"demo-{row[0]}") for row in rows if str(row[0]) not in refused
    )
    reasons = tuple(f"demo-{name}   {_reason(row)}" for name, row in refused.items())
    return Summary(len(rows), len(held), differences, reasons, counts)


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
    told = words if len(words) <= WIDEST or not end else f"{words[: WIDEST - 1]}…"
    return (
        f"  {at.astimezone():%H:%M:%S}  {what:<8}{reference:<10}{told:<{WIDEST + 2}}{end}".rstrip()
    )
