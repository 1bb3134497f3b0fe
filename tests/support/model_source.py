"""The source of the model: a SQLite table, and every state that each of its rows was ever in."""

import sqlite3
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

Fields: TypeAlias = dict[str, str | None]
Column: TypeAlias = tuple[str, str | None]

LOOKBACK = timedelta(seconds=3)  # shorter than a PUT may take
STARTS = ("2024-01-01", "2025-06-30")
DELETED = "deleted"  # a plan that marks the row as gone


class Clock:
    """One clock for the source and for us, moved by the test alone."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._start = self.at

    def now(self) -> datetime:
        """The instant."""
        return self.at

    def monotonic(self) -> float:
        """Seconds since some instant."""
        return 1000 + (self.at - self._start).total_seconds()


@dataclass(frozen=True, slots=True)
class Row:
    """What the application has written; `gone` where a reader counts it as deleted."""

    code: str | None = "c1"
    account: str | None = "ACME"
    start: str | None = STARTS[0]
    end: str | None = None
    plan: str | None = "Gold"

    @property
    def gone(self) -> bool:
        """Whether it is marked as deleted."""
        return self.plan == DELETED

    def fields(self) -> Fields | None:
        """What CustomerGauge is to hold under the row's reference; None for what cannot be sent."""
        if self.gone or not self.account or self.start not in STARTS:
            return None
        return {
            "account": self.account,
            "start": self.start,
            "end": self.end,
            "description": self.plan or "",
        }


@dataclass
class ModelSource:
    """Rows by id, as committed; `hidden` once something happened that no poll can see."""

    path: Path
    clock: Clock
    rows: dict[int, Row] = field(default_factory=dict)
    stamps: dict[int, datetime] = field(default_factory=dict)
    states: dict[str, list[Fields | None]] = field(default_factory=dict)
    hidden: bool = False
    skipped_to: datetime | None = None  #: a person moved the watermark here by force
    _before: dict[int, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._database = sqlite3.connect(self.path, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA journal_mode = MEMORY")
        self._database.execute(
            "CREATE TABLE contracts (id INTEGER PRIMARY KEY, code TEXT, account TEXT,"
            ' start TEXT, "end" TEXT, plan TEXT, updated_at TEXT)'
        )

    def close(self) -> None:
        """Ends the application's connection."""
        self._database.close()

    def put(self, row_id: int, row: Row, *, late: float = 0) -> None:
        """Inserts or replaces a row, stamped; `late` seconds before now, as a late commit is."""
        stamp = self.stamps[row_id] = self.clock.now() - timedelta(seconds=late)
        if self.skipped_to is not None and stamp < self.skipped_to:
            self.hidden = True
        self._write(row_id, row, _text(stamp))

    def change(self, row_id: int, column: Column, *, late: float = 0) -> None:
        """Updates one column and the stamp."""
        self.put(row_id, _changed(self.rows[row_id], column), late=late)

    def touch(self, row_id: int) -> None:
        """A new stamp and nothing else."""
        self.put(row_id, self.rows[row_id])

    def revert(self, row_id: int, *, late: float = 0) -> None:
        """Takes back the last change, with a new stamp."""
        self.put(row_id, self._before[row_id], late=late)

    def skip(self) -> None:
        """A person moves the watermark to now: what is before it no poll may ever see."""
        self.skipped_to, self.hidden = self.clock.now(), True

    def change_unstamped(self, row_id: int, column: Column) -> None:
        """An update that leaves the stamp as it is: only a reconcile can see it."""
        self.hidden = True
        self._write(row_id, _changed(self.rows[row_id], column), _text(self.stamps[row_id]))

    def delete(self, row_id: int) -> None:
        """Takes a row away: only a reconcile can see that."""
        self._database.execute("DELETE FROM contracts WHERE id = ?", (row_id,))
        del self.rows[row_id], self.stamps[row_id]
        self.states[str(row_id)].append(None)
        self.hidden = True

    def _write(self, row_id: int, row: Row, stamp: str) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO contracts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row_id, row.code, row.account, row.start, row.end, row.plan, stamp),
        )
        self._before[row_id] = self.rows.get(row_id, row)
        self.rows[row_id] = row
        states = self.states.setdefault(str(row_id), [])
        if not states or states[-1] != row.fields():
            states.append(row.fields())


def _text(stamp: datetime) -> str:
    return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{stamp.microsecond // 1000:03}"


def _changed(row: Row, column: Column) -> Row:
    name, value = column
    if name == "code":
        return replace(row, code=value)
    if name == "account":
        return replace(row, account=value)
    if name == "start":
        return replace(row, start=value)
    if name == "end":
        return replace(row, end=value)
    return replace(row, plan=value)
