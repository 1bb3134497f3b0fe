"""What poll, reconcile and plan share: the pages of a scan, and what a page changes.

A page is read and recorded under one lock, and recorded in one state transaction.
"""

import hashlib
import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import TypeAlias
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.contract import Known, Mapped, Problem, Reference, SourceId, WatermarkValue
from cdc_sync.measures import Measures
from cdc_sync.rules.compare import Action, Change, compare, compare_gone
from cdc_sync.rules.mapping import RowMapper, compile_mapping
from cdc_sync.rules.watermark import Horizon, ReadTo, WatermarkType, is_before, write_watermark
from cdc_sync.source.horizon import read_horizon
from cdc_sync.source.reader import RowPage, Scan, Source
from cdc_sync.source.statements import Row
from cdc_sync.state import contracts, control, watermark
from cdc_sync.state.database import Database
from cdc_sync.state.history import Run
from cdc_sync.state.values import Fingerprint, ReconcileDue

log = structlog.get_logger()
Turn: TypeAlias = Callable[[], AbstractContextManager[None]]  # of the page lock
POLL_RANK, FULL_SCAN_RANK = 0.0, math.inf  # of those that wait for it; a sweep's is its window
PASSED_OVER = 3  # pages of others that a scan waits for at most, beside polls
Progress: TypeAlias = Callable[[Run], None]  # called with a run's counts after each page
SOURCE_CHANGED = "another server answers, or the source's clock was set back"
IN_THE_FUTURE = "the watermark was later than the source's clock"


def ignore_progress(_run: Run) -> None:
    """Does nothing: for a run that nobody watches."""


class PageLock:
    """Lets one page be read and recorded at a time; of those that wait the least rank goes first.

    Who releases it hands it to one that waits, and asks again behind: a poll waits for one page of
    a long scan at most, and a long poll lets others read a page between two of its own. What was
    passed over PASSED_OVER times goes before other scans, whatever its rank.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, float] = {}  # the ranks by ticket
        self._passed_over: Counter[int] = Counter()
        self._tickets = itertools.count()
        self._holder: int | None = None

    def waiting(self) -> int:
        """Returns how many wait."""
        return len(self._waiting)

    def turn(self, rank: float) -> Turn:
        """Returns what takes the lock for a page: by its rank, then in the order of asking."""

        @contextmanager
        def take() -> Iterator[None]:
            ticket = next(self._tickets)
            with self._changed:
                self._waiting[ticket] = rank
                if self._holder is None:
                    self._hand_on()
                self._changed.wait_for(lambda: self._holder == ticket)
            try:
                yield
            finally:
                with self._changed:
                    self._hand_on()
                    self._changed.notify_all()

        return take

    def _hand_on(self) -> None:
        self._holder = min(self._waiting, key=self._precedence, default=None)
        if self._holder is not None:
            del self._waiting[self._holder], self._passed_over[self._holder]
        self._passed_over.update(self._waiting.keys())

    def _precedence(self, ticket: int) -> tuple[float, float, int]:
        rank = self._waiting[ticket]
        is_old = self._passed_over[ticket] >= PASSED_OVER
        return (rank, rank, ticket) if rank == POLL_RANK else (1 if is_old else 2, rank, ticket)


@dataclass
class Capture:
    """What a scan needs.

    `page_lock` covers reading a page AND recording it, so that a poll and a reconcile beside it
    never write an older view over a newer one.
    """

    config: Config
    source: Source
    state: Database
    now: Callable[[], datetime]
    page_lock: PageLock = field(default_factory=PageLock)
    horizon_lock: threading.Lock = field(default_factory=threading.Lock)
    horizon: Horizon | None = None  #: the last one asked for
    read_to: ReadTo | None = None  #: how far polls have read, in this process only
    steady_now: Callable[[], datetime] = utc_now  #: our clock, without the steps of the system's
    measures: Measures = field(default_factory=Measures)
    guarded_runs: set[int] = field(default_factory=set)  #: under way, with changes that wait
    _mappers: dict[ZoneInfo, RowMapper] = field(default_factory=dict)

    def reset(self) -> None:
        """Drops what this process knows of its own polls: another process has polled since."""
        self.horizon, self.read_to = None, None
        self.guarded_runs.clear()

    def mapper(self, zone: ZoneInfo) -> RowMapper:
        """Returns what makes a payload of a row; times without zone and days are in `zone`."""
        if zone not in self._mappers:
            self._mappers[zone] = compile_mapping(
                self.config.mapping,
                zone=zone,
                clear_end_with=self.config.customergauge.clear_end_with,
                create_accounts=self.config.customergauge.create_missing_accounts,
            )
        return self._mappers[zone]

    def ends_on(self) -> date | None:
        """The day to end contracts with that are gone; None where they are only kept."""
        return self.now().date() if self.config.deletes.policy == "end" else None


def each_page(
    take_turn: Turn,
    read: Callable[[Row | None], RowPage],
    record: Callable[[RowPage], None],
    is_stopped: Callable[[], bool],
) -> None:
    """Reads and records page after page, each in its turn, up to the last one or a stop."""
    after: Row | None = None
    while not is_stopped():
        with take_turn():
            page = read(after)
            record(page)
        if page.next is None:
            return
        after = page.next


def compare_page(
    tx: Connection,
    page: Sequence[Mapped],
    *,
    ends_on: date | None = None,
    ignore_previous: bool = False,
) -> list[Change]:
    """Returns what a page changes in what is known; nothing for a row that is known as it is.

    With `ignore_previous` what is held is compared as if it had not been seen before.
    Of two rows that want one reference the first keeps it, and the other is refused by its name.
    Of two rows with one id, which a `query` can give, the later one counts.
    """
    rows = {seen.source_id: seen for seen in page}
    payloads = {
        name: None if seen.gone or seen.problems else seen.payload for name, seen in rows.items()
    }
    known = contracts.find_differing(tx, payloads)
    others = [seen for name, seen in rows.items() if name in known]
    compare_row = partial(compare, ends_on=ends_on, ignore_previous=ignore_previous)
    candidates = _candidates(others, known, compare_row)
    # Another daemon may have claimed or settled some since: they are compared with what is now.
    locked = contracts.lock_rows(tx, [seen.source_id for seen, _ in candidates])
    if locked:
        candidates = _candidates([seen for seen, _ in candidates], known | locked, compare_row)
    return _without_taken_references(tx, candidates) if candidates else []


def differing_rows(capture: Capture, rows: Sequence[Mapped]) -> list[Mapped]:
    """Returns the rows that change something; writes nothing.

    For the others it is as if they had been recorded now. What others do to a contract before the
    rest is recorded, they might as well do after it.
    """
    if not rows:
        return []
    with capture.state.read() as tx:
        changes = compare_page(tx, rows, ends_on=capture.ends_on())
    found = {change.source_id for change in changes}
    return [row for row in rows if row.source_id in found]


def stamps_of(scan: Scan, page: RowPage, changes: Sequence[Change]) -> list[WatermarkValue | None]:
    """Returns the stamps of the changes that make a contract pending, rejected or gone."""
    stamps = dict(zip((row.source_id for row in page.rows), page.stamps, strict=True))
    return [
        scan.column.value_of(stamps[change.source_id])
        for change in changes
        if change.action is not Action.UNCHANGED
    ]


def compare_absent(
    tx: Connection,
    absent: Sequence[SourceId],
    *,
    ends_on: date | None = None,
    ignore_previous: bool = False,
) -> list[Change]:
    """Returns what it changes that these contracts are not in the source."""
    rows = (contracts.find_rows(tx, absent) | contracts.lock_rows(tx, absent)).values()
    found = [
        compare_gone(contracts.to_known(row), ends_on=ends_on, ignore_previous=ignore_previous)
        for row in rows
    ]
    return [change for change in found if change is not None]


def _candidates(
    page: Iterable[Mapped],
    known: Mapping[SourceId, contracts.KnownRow | None],
    compare_row: Callable[[Mapped, Known | None], Change | None],
) -> list[tuple[Mapped, Change]]:
    candidates: list[tuple[Mapped, Change]] = []
    for seen in page:
        row = known[seen.source_id]
        change = compare_row(seen, None if row is None else contracts.to_known(row))
        if change is not None:
            candidates.append((seen, change))
    return candidates


def _without_taken_references(
    tx: Connection, candidates: list[tuple[Mapped, Change]]
) -> list[Change]:
    wanted = {name for _, change in candidates if (name := _new_reference(change)) is not None}
    owners: dict[Reference, SourceId] = contracts.find_owners(tx, wanted) if wanted else {}
    changes: list[Change | None] = []
    for seen, change in candidates:
        name, owner = _new_reference(change), change.source_id
        if name is not None:
            owner = owners.setdefault(name, change.source_id)
        is_taken = owner != change.source_id
        changes.append(_refuse_taken(seen, change, owner) if is_taken else change)
    return [change for change in changes if change is not None]


def _new_reference(change: Change) -> Reference | None:
    has_one = change.known is not None and change.known.reference is not None
    return None if has_one else change.reference


def _refuse_taken(seen: Mapped, change: Change, owner: SourceId) -> Change | None:
    problem = Problem("reference", f"{change.reference} belongs to {owner} already")
    refused = seen._replace(reference=None, problems=(*seen.problems, problem))
    return compare(refused, change.known)


def count_page(run: Run, rows: int, changes: Sequence[Change]) -> Run:
    """Returns the run with a page added: how many rows, and what they changed."""
    of = [change.action for change in changes]
    rejected = of.count(Action.INVALID)
    created, updated, gone = (of.count(a) for a in (Action.CREATE, Action.UPDATE, Action.GONE))
    return replace(
        run,
        rows=run.rows + rows,
        created=run.created + created,
        updated=run.updated + updated,
        rejected=run.rejected + rejected,
        gone=run.gone + gone,
        unchanged=run.unchanged + rows - created - updated - rejected - (gone if rows else 0),
    )


def add_to_totals(tx: Connection, run: Run) -> None:
    """Adds what a run found to `totals`, beside what became of deliveries."""
    found = {"unchanged": run.unchanged, "rejected": run.rejected, "late": run.late}
    control.add_to_totals(tx, {name: number for name, number in found.items() if number})


def is_full_scan_due(capture: Capture, tx: Connection) -> bool:
    """Whether everything is to be read: at first, after an edit of the mapping, or as was asked."""
    known, before = watermark.read(tx), control.load(tx, Fingerprint)
    is_edited = before not in (None, config_fingerprint(capture.config))
    return known.value is None or is_edited or control.load(tx, ReconcileDue) is not None


def config_fingerprint(config: Config) -> Fingerprint:
    """Returns the hashes of all that shapes payloads, and of the watermark column alone."""
    source = config.source
    everything = [
        source.table,
        source.query,
        source.id,
        source.watermark,
        source.where,
        source.deleted_when,
        source.time_zone,
        config.mapping.model_dump(mode="json"),
        config.customergauge.clear_end_with,
    ]
    return Fingerprint(_hash(everything), _hash([source.watermark]))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def update_horizon(capture: Capture, scan: Scan) -> Horizon:
    """Reads the horizon of a scan that has not begun. The watermark may have gone back after it.

    Raises SourceUnavailable and StateUnavailable.
    """
    with capture.horizon_lock:
        if capture.horizon is None:
            with capture.state.read() as tx:
                carry_over = watermark.load_carry_over(tx)
        else:
            carry_over = capture.horizon.carry_over
        horizon = read_horizon(scan, carry_over, capture.steady_now())
        horizon = replace(horizon, taken_at=capture.now())
        if horizon.source_changed:
            restart_from(capture, horizon, scan.column.type, SOURCE_CHANGED)
        # Only now: a changed source must be noticed again where that could not be recorded.
        capture.horizon = horizon
        return horizon


def restart_from(capture: Capture, horizon: Horizon, type_: WatermarkType, reason: str) -> None:
    """Moves the watermark back to the horizon and makes a reconcile due.

    Another server may stamp below the old horizon, and may lack commits that were delivered. Its
    numbers say nothing of the old one's: a watermark of numbers is forgotten, and everything is
    read until a sample is old enough.
    """
    now, back = capture.now(), horizon.value
    with capture.state.begin() as tx:
        known = watermark.read(tx)
        is_forgotten = back is None and type_ is WatermarkType.INTEGER
        is_back = back is not None and known.value is not None and is_before(back, known.value)
        if known.value is not None and (is_forgotten or is_back):
            watermark.move(
                tx, back, type_=type_, kind="source", who="cdc-sync", reason=reason, now=now
            )
            log.warning("watermark.moved_back", to=write_watermark(back), reason=reason)
        control.save(tx, ReconcileDue(now))
        watermark.forget_samples(tx)
        watermark.save_horizon(tx, horizon)
