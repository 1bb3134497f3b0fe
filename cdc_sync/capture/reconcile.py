"""Compares the whole source with the whole state: the first run, and what polls cannot see.

Finds rows whose watermark column was not changed or is NULL, and contracts that are gone. Here is
also `discard`: what is held is read again by id.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cdc_sync.capture.guard import RunGuard, guard_run
from cdc_sync.capture.page import (
    FULL_SCAN_RANK,
    Capture,
    Progress,
    add_to_totals,
    compare_absent,
    compare_page,
    config_fingerprint,
    count_page,
    each_page,
    ignore_progress,
    stamps_of,
    update_horizon,
)
from cdc_sync.contract import SourceId, Status, WatermarkValue
from cdc_sync.rules.compare import Change
from cdc_sync.rules.sweep import after_full_scan
from cdc_sync.rules.watermark import Horizon, Watermark, is_before, next_watermark
from cdc_sync.source.reader import RowPage, Scan
from cdc_sync.state import contracts, control, holds, watermark
from cdc_sync.state.contracts import SeenIds, open_seen_ids
from cdc_sync.state.history import STOPPED, Run
from cdc_sync.state.values import Balance, Fingerprint, ReconcileDue, Sweeps


def reconcile(capture: Capture, stop: threading.Event, progress: Progress = ignore_progress) -> Run:
    """Compares everything. Where there is no watermark yet, it is set at the end.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; a read that failed or stopped
    early calls nothing gone and sets no watermark.
    """
    now_configured = config_fingerprint(capture.config)
    with capture.state.read() as tx:
        before = control.load(tx, Fingerprint)
    with capture.source.scan() as scan, open_seen_ids(capture.state) as seen_ids:
        horizon = update_horizon(capture, scan)  # before the scan
        with capture.state.read() as tx:
            known = watermark.read(tx)
            due = control.load(tx, ReconcileDue)
        kind = "initial" if known.value is None else "reconcile"
        with guard_run(capture, kind) as guard:
            passed = known.value if before == now_configured and due is None else None
            full = _FullScan(capture, scan, seen_ids, guard, Run(kind, capture.now()), passed)
            run = full.compare_all(stop, progress)
        if stop.is_set():
            return run.ended(capture.now(), STOPPED)
        restart = before is not None and before.watermark not in (None, now_configured.watermark)
        _finish(capture, known, horizon, scan, restart=restart, due=due)
        _count_as_sweeps(capture, run)
        full.save_balance(progress)
        return run.ended(capture.now())


@dataclass
class _FullScan:
    """A scan of everything; `passed` is the watermark before which polls should have seen all."""

    capture: Capture
    scan: Scan
    seen_ids: SeenIds
    guard: RunGuard
    run: Run
    passed: WatermarkValue | None
    departed: int = 0  #: rows that count as gone

    def __post_init__(self) -> None:
        self.map_row = self.capture.mapper(self.scan.zone)
        self.take_turn = self.capture.page_lock.turn(FULL_SCAN_RANK)

    def compare_all(self, stop: threading.Event, progress: Progress) -> Run:
        """Compares every row, then what no row was met of; at its end the guard judges it all."""

        def record(page: RowPage) -> None:
            self._record_page(page)
            progress(self.run)

        self.before = RowCount.of(self.scan)
        progress(self.run)
        each_page(self.take_turn, self.scan.full_page, record, stop.is_set)
        if not stop.is_set():
            self._recheck_unmet(stop, progress)
        if not stop.is_set():
            with self.capture.state.begin() as tx:
                self.guard.end(tx, self.capture.now(), lambda: progress(self.run))
                add_to_totals(tx, self.run)
        return self.run

    def _record_page(self, page: RowPage) -> None:
        rows = [self.map_row(row) for row in page.rows]
        changes: list[Change] = []
        missed = 0
        if rows:
            with self.capture.state.begin() as tx:
                changes = compare_page(tx, rows, ends_on=self.capture.ends_on())
                missed = self._count_missed(changes, page)
                control.add_to_totals(tx, {"missed": missed} if missed else {})
                self.guard.record(tx, changes, self.capture.now(), last=False)
        self.seen_ids.add(row.source_id for row in page.rows)
        self.departed += sum(row.gone for row in page.rows)
        run = count_page(self.run, len(rows), changes)
        self.run = replace(run, missed=run.missed + missed)

    def _count_missed(self, changes: Sequence[Change], page: RowPage) -> int:
        """Counts the changes with stamps that polls have passed and should have seen."""
        if self.passed is None or not changes:
            return 0
        stamps = stamps_of(self.scan, page, changes)
        return sum(stamp is not None and is_before(stamp, self.passed) for stamp in stamps)

    def _recheck_unmet(self, stop: threading.Event, progress: Progress) -> None:
        """Asks by id for known contracts that were not met: a row may be in behind the scan.

        Where the source had no row at all, every one of them is held, guard or no guard.
        """
        is_empty = self.run.rows == 0
        for missing in self.seen_ids.missing(self.capture.config.source.page_size):
            if stop.is_set():
                break
            ids = [row.source_id for row in missing]
            with self.take_turn():
                changes = recheck(self.capture, self.scan, self.guard, ids, holds_gone=is_empty)
            self.run = count_page(self.run, 0, changes)
            progress(self.run)
        if is_empty:
            with self.capture.state.begin() as tx:
                self.guard.save_hold(tx, self.capture.now())

    def save_balance(self, progress: Progress) -> None:
        """Stores the arithmetic of the scan: every row in scope is accounted for by a status."""
        progress(self.run)
        nulls, rows = self.scan.count_null_ids(), self.run.rows
        progress(self.run)
        uncounted = self.before.unexplained(RowCount.of(self.scan, self.before.since), rows)
        progress(self.run)
        with self.capture.state.begin() as tx:
            counts, departing = contracts.count_by_status(tx), contracts.count_departing(tx)
            by_status = {
                status.value: counts[status] - departing.get(status, 0)
                for status in Status
                if status is not Status.GONE
            }
            balance = Balance(
                at=self.capture.now(),
                rows=rows + nulls - self.departed,
                unexplained=nulls + rows - self.seen_ids.count + uncounted,
                **by_status,
            )
            control.save(tx, balance)


def _finish(
    capture: Capture,
    known: Watermark,
    horizon: Horizon,
    scan: Scan,
    *,
    restart: bool,
    due: ReconcileDue | None,
) -> None:
    """Sets the watermark of a first run, and saves which configuration payloads are of now."""
    type_ = scan.column.type
    with capture.state.begin() as tx:
        if known.value is None or restart or not known.fits(type_):
            to = next_watermark(None, None, horizon, last=True)
            if watermark.begin_anew(tx, known, to, type_, capture.now()) is not None:
                watermark.save_horizon(tx, horizon)
        control.save(tx, config_fingerprint(capture.config))
        if control.load(tx, ReconcileDue) == due:
            control.remove(tx, ReconcileDue)


def _count_as_sweeps(capture: Capture, run: Run) -> None:
    with capture.state.begin() as tx:
        swept = control.load(tx, Sweeps) or Sweeps()
        windows = capture.config.source.sweeps
        control.save(tx, Sweeps(after_full_scan(swept.last, windows, run.started)))


def recheck_held(
    capture: Capture, stop: threading.Event, progress: Progress = ignore_progress
) -> Run:
    """Reads held contracts again from the source by id and puts them through the guard again.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; what was not read by then stays
    held.
    """
    run = Run("discard", capture.now())
    with capture.state.read() as tx:
        until_run = holds.last_run_number(tx)
    after: SourceId | None = None
    with capture.source.scan() as scan, guard_run(capture, "discard") as guard:
        is_empty = not scan.full_page(None).rows
        take_turn = capture.page_lock.turn(FULL_SCAN_RANK)
        while not stop.is_set():
            with take_turn():
                with capture.state.read() as tx:
                    size = capture.config.source.page_size
                    ids = holds.page_of_held(tx, until_run, after, size)
                if not ids:
                    break
                changes = recheck(
                    capture, scan, guard, ids, holds_gone=is_empty, ignore_previous=True
                )
            run = count_page(run, len(ids), changes)
            after = ids[-1]
            progress(run)
        if not stop.is_set():
            with capture.state.begin() as tx:
                if is_empty:
                    guard.save_hold(tx, capture.now())
                else:
                    guard.end(tx, capture.now())
                holds.remove_report_if_none_held(tx)
    return run.ended(capture.now(), STOPPED if stop.is_set() else None)


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows the source itself counts; `recent` of them were changed since the count before.

    It knows nothing of pages, so that no mistake of paging can hide in it.
    """

    rows: int
    recent: int
    since: object  #: the newest stamp then, as the driver gives it

    @classmethod
    def of(cls, scan: Scan, since: object = None) -> "RowCount":
        """Counts the rows in scope, and those that were changed since `since`."""
        if since is not None:
            return cls(scan.count(), scan.count_after(since), since)
        return cls(scan.count(), 0, scan.newest_stamp())

    def unexplained(self, after: "RowCount", met: int) -> int:
        """Returns how many rows too few or too many a scan between both counts has met.

        What came and went meanwhile explains as many as the counts differ by, and as were changed.
        """
        least, most = sorted((self.rows, after.rows))
        difference = max(least - met, met - most, 0)
        return difference if difference > most - least + after.recent else 0


def recheck(  # what its two callers differ in
    capture: Capture,
    scan: Scan,
    guard: RunGuard,
    ids: Sequence[SourceId],
    *,
    holds_gone: bool,
    ignore_previous: bool = False,
) -> list[Change]:
    """Asks the source for these contracts and records what has changed; the page lock is held.

    With `holds_gone` those that are gone are held, for the source has no row at all. Raises
    SourceMistake, and calls nothing gone, where ids that were just met are not found either.
    """
    map_row, now, ends_on = capture.mapper(scan.zone), capture.now(), capture.ends_on()
    rows = [map_row(row) for row in scan.existing(ids)]
    absent = sorted(set(ids) - {row.source_id for row in rows})
    if absent:
        scan.expect_found_by_id()
    with capture.state.begin() as tx:
        changes = compare_page(tx, rows, ends_on=ends_on, ignore_previous=ignore_previous)
        gone = compare_absent(tx, absent, ends_on=ends_on, ignore_previous=ignore_previous)
        if holds_gone:
            guard.hold_gone(tx, gone, now)
            guard.record(tx, changes, now, last=False)
        else:
            guard.record(tx, [*changes, *gone], now, last=False)
    return [*changes, *gone]
