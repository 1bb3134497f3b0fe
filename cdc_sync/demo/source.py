"""A SQLite source with realistic contracts that keep changing, each change a transaction."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from random import Random
from threading import Event
from typing import NamedTuple

from cdc_sync.clock import utc_now
from cdc_sync.errors import CdcSyncError

BAD_SHARE = 0.02  # of the contracts at the start
HISTORY = timedelta(days=90)  # over which the rows were last changed
WAIT_FOR_LOCK = 10.0  # seconds
SCHEMA = (
    """
    CREATE TABLE contracts (
        id INTEGER PRIMARY KEY,
        account_name TEXT,
        start_date TEXT,
        end_date TEXT,
        plan TEXT,
        updated_at TEXT NOT NULL,
        deleted_at TEXT
    )
    """,
    "CREATE INDEX contracts_by_update ON contracts (updated_at, id)",
)
EXISTS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'contracts'"
INSERT = """
    INSERT INTO contracts (account_name, start_date, end_date, plan, updated_at)
    VALUES (?, ?, ?, ?, ?)
"""
# Only a real date in this form survives a calculation: date() alone lets 30 February through.
IS_GOOD = """(
    length(trim(coalesce(account_name, ''))) BETWEEN 1 AND 255
    AND start_date IS NOT NULL AND date(start_date, '+0 days') IS start_date
    AND (end_date IS NULL OR date(end_date, '+0 days') IS end_date)
)"""


class ChangeKind(StrEnum):
    """What happened to a contract."""

    NEW = "new"  #: signed
    CHANGED = "changed"  #: renewed by a year, or on another plan
    TOUCHED = "touched"  #: saved again, nothing differs
    BAD = "bad"  #: signed, and entered wrongly
    CORRECTED = "corrected"  #: entered wrongly before, now right


WEIGHTS = {
    ChangeKind.NEW: 10,
    ChangeKind.CHANGED: 50,
    ChangeKind.TOUCHED: 30,
    ChangeKind.BAD: 5,
    ChangeKind.CORRECTED: 5,
}
# Which contracts a change may choose from; the other kinds sign one.
FIT = {
    ChangeKind.CHANGED: IS_GOOD,
    ChangeKind.TOUCHED: IS_GOOD,
    ChangeKind.CORRECTED: f"NOT {IS_GOOD}",
}
OPEN_ENDED = 0.2  # share of the contracts that have no end
OLDEST = 6 * 365  # days ago that a contract may have started
YEARS = (1, 1, 2, 3, 3, 5)
FAMILIES = (
    "Halvorsen", "Okafor", "Müller", "Brightwater", "Delacroix", "O'Hara", "Takeda", "Lindqvist",
    "Castellanos", "Novák", "Ferrante", "Whitcombe", "Jørgensen", "Abernathy", "Van der Meer",
    "Petrov", "Achterberg", "Sørlie", "Kowalczyk", "Rosenthal", "Öztürk", "Bellweather", "Ngata",
    "Iyer", "Fairbanks", "Moreau", "Castle & Finch", "Quintana", "Årdal", "Stillwater",
)  # fmt: skip
TRADES = (
    "Logistics", "Marine Supply", "Foods", "Precision Tools", "Energy", "Packaging", "Medical",
    "Paper", "Data Centres", "Instruments", "Freight", "Textiles", "Robotics", "Dairy", "Optics",
    "Insurance", "Bearings", "Seed & Grain", "Elevators", "Printing",
)  # fmt: skip
FORMS = ("AB", "B.V.", "GmbH", "Ltd", "Inc.", "S.A.", "ApS", "SpA", "plc", "Oy")
TIERS = ("Basic", "Standard", "Service plus", "Premium", "Enterprise")
SEATS = (5, 10, 25, 50, 120, 250, 600)


@dataclass(frozen=True, slots=True)
class Change:
    """One change that was committed."""

    kind: ChangeKind
    contract_id: int


def create_source(path: Path, contracts: int = 500, seed: int = 1) -> None:
    """Creates a database with this many contracts; one that has contracts already is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as source:
        source.execute("PRAGMA journal_mode = WAL")
        with writing(source):
            if source.execute(EXISTS).fetchone() is None:
                for statement in SCHEMA:
                    source.execute(statement)
                source.executemany(INSERT, _first_rows(contracts, Random(seed), utc_now()))


def keep_changing(
    path: Path,
    stop: Event,
    per_second: float,
    *,
    on_change: Callable[[Change], None] | None = None,
) -> None:
    """Changes contracts at this rate until `stop`; passes each change on."""
    chance = Random(1)  # repeatable, not secret
    with opened(path) as source:
        while not stop.wait(1 / per_second):
            done = change_any(source, chance, utc_now)
            if on_change is not None:
                on_change(done)


def change_any(source: sqlite3.Connection, chance: Random, now: Callable[[], datetime]) -> Change:
    """Makes one change, of a kind chosen by chance."""
    kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    return change(source, kind, chance, now)


def change(
    source: sqlite3.Connection, kind: ChangeKind, chance: Random, now: Callable[[], datetime]
) -> Change:
    """Makes a change of this kind; where no contract is fit for it, signs a new one instead."""
    with writing(source):
        # Read once the lock is held, so that the stamps grow in the order of the commits.
        at = now()
        contract_id = _chosen(source, FIT[kind], chance) if kind in FIT else None
        if contract_id is None:
            return _sign(source, kind, chance, at)
        _update(source, contract_id, kind, chance, at)
        return Change(kind, contract_id)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens the database; every transaction on it is begun by hand."""
    try:
        source = sqlite3.connect(path, timeout=WAIT_FOR_LOCK, isolation_level=None)
        try:
            yield source
        finally:
            source.close()
    except sqlite3.Error as error:
        raise CdcSyncError(
            f"The demo's source {path} cannot be used: {error}.",
            hint="Remove that file or choose another place.",
        ) from error


@contextmanager
def writing(source: sqlite3.Connection) -> Iterator[None]:
    """Runs one transaction that holds the write lock from its first moment."""
    source.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        source.execute("ROLLBACK")
        raise
    source.execute("COMMIT")


def _first_rows(contracts: int, chance: Random, now: datetime) -> Iterator[tuple[object, ...]]:
    for number in range(contracts):
        make = bad_row if chance.random() < BAD_SHARE else good_row
        at = now - HISTORY * (1 - number / contracts)
        yield (*make(chance, now.date()), _stamp(at))


def _sign(source: sqlite3.Connection, kind: ChangeKind, chance: Random, at: datetime) -> Change:
    signed = ChangeKind.BAD if kind is ChangeKind.BAD else ChangeKind.NEW
    make = bad_row if signed is ChangeKind.BAD else good_row
    done = source.execute(INSERT, (*make(chance, at.date()), _stamp(at)))
    return Change(signed, done.lastrowid or 0)


def _update(
    source: sqlite3.Connection, contract_id: int, kind: ChangeKind, chance: Random, at: datetime
) -> None:
    columns: dict[str, object] = {"updated_at": _stamp(at)}
    if kind is ChangeKind.CORRECTED:
        columns |= good_row(chance, at.date())._asdict()
    elif kind is ChangeKind.CHANGED:
        columns |= _renewed_or_moved(source, contract_id, chance)
    places = ", ".join(f"{name} = ?" for name in columns)
    source.execute(f"UPDATE contracts SET {places} WHERE id = ?", (*columns.values(), contract_id))


def _renewed_or_moved(
    source: sqlite3.Connection, contract_id: int, chance: Random
) -> dict[str, object]:
    query = "SELECT date(end_date, '+1 year'), plan FROM contracts WHERE id = ?"
    next_end, old_plan = source.execute(query, (contract_id,)).fetchone()
    if next_end is not None and chance.random() < 0.5:
        return {"end_date": next_end}
    offers = (plan(chance) for _ in range(100))
    return {"plan": next(offer for offer in offers if offer != old_plan)}


def _chosen(source: sqlite3.Connection, fit: str, chance: Random) -> int | None:
    (last,) = source.execute("SELECT coalesce(max(id), 0) FROM contracts").fetchone()
    query = f"SELECT id FROM contracts WHERE {fit} AND deleted_at IS NULL AND id {{}} ? LIMIT 1"
    start = chance.randint(0, last)
    for side in (">=", "<"):
        found = source.execute(query.format(side), (start,)).fetchone()
        if found is not None:
            return int(found[0])
    return None


def plan(chance: Random) -> str:
    """Returns the plan that a contract is for."""
    return f"{chance.choice(TIERS)}, {chance.choice(SEATS)} seats"


class Row(NamedTuple):
    """The columns of one contract that its owner fills in; dates are text, as they came."""

    account_name: str | None
    start_date: str | None
    end_date: str | None
    plan: str | None


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def good_row(chance: Random, today: date) -> Row:
    """Returns a contract that CustomerGauge takes."""
    start = today - timedelta(days=chance.randrange(OLDEST))
    length = timedelta(days=365 * chance.choice(YEARS))
    end = None if chance.random() < OPEN_ENDED else (start + length).isoformat()
    return Row(_company(chance), start.isoformat(), end, plan(chance))


def bad_row(chance: Random, today: date) -> Row:
    """Returns a contract that is refused, broken in one of the ways in which people break them."""
    row = good_row(chance, today)
    mistakes: list[dict[str, str | None]] = [
        {"account_name": ""},
        {"account_name": None},
        {"account_name": f"{row.account_name}, formerly " * 12},
        {"start_date": None},
        {"start_date": f"{today.year}-02-30"},
        {"end_date": f"31.12.{today.year}"},
    ]
    return row._replace(**chance.choice(mistakes))


def _company(chance: Random) -> str:
    return f"{chance.choice(FAMILIES)} {chance.choice(TRADES)} {chance.choice(FORMS)}"
