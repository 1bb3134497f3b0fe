"""The whole source in id order against the whole state: the first run, and what polls cannot see.

It finds rows whose watermark column was not bumped or is NULL, and contracts that are gone.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace

from cdc_sync.capture.guard import RunGuard, guard_run
from cdc_sync.capture.page import (
    Capture,
    Progress,
    add_to_totals,
    compare_absent,
    compare_page,
    config_fingerprint,
    count_page,
    ignore_progress,
    update_horizon,
)
from cdc_sync.contract import Mapped, SourceId, Status, WatermarkValue
from cdc_sync.rules.compare import Action, Change
from cdc_sync.rules.watermark import Horizon, Watermark, WatermarkType, is_before, next_watermark
from cdc_sync.source.reader import Page, Scan
from cdc_sync.state import contracts, control, holds, watermark
from cdc_sync.state.contracts import SeenIds, open_seen_ids
from cdc_sync.state.history import STOPPED, Run
from cdc_sync.state.values import Balance, Fingerprint, ReconcileDue


def reconcile(capture: Capture, stop: threading.Event, progress: Progress = ignore_progress) -> Run:
    """Compares everything. Where there is no watermark yet, it is set at the end.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; a read that failed or stopped
    early calls nothing gone and sets no watermark.
    """
    with capture.state.read() as tx:
        fingerprint = control.load(tx, Fingerprint)
    with capture.source.scan() as scan, open_seen_ids(capture.state) as seen_ids:
        horizon = update_horizon(capture, scan)  # before the scan
        with capture.state.read() as tx:
            known = watermark.read(tx)
            due = control.load(tx, ReconcileDue)
        kind = "initial" if known.value is None else "reconcile"
        with guard_run(capture, kind) as guard:
            is_same = fingerprint == config_fingerprint(capture.config) and due is None
            full = _FullScan(capture, scan, seen_ids, guard, known.value if is_same else None)
            run = full.whole(Run(kind, capture.now()), stop, progress)
        if stop.is_set():
            return run.ended(capture.now(), STOPPED)
        column_changed = _column_changed(fingerprint, config_fingerprint(capture.config))
        _finish(capture, known, horizon, scan, restart=column_changed, due=due)
        full.balance(run)
        return run.ended(capture.now())


def _finish(
    capture: Capture,
    known: Watermark,
    horizon: Horizon,
    scan: Scan,
    *,
    restart: bool,
    due: ReconcileDue | None,
) -> None:
    """Sets the watermark of a first run; notes that payloads are of this configuration now."""
    type_ = scan.column.type
    fits = (known.type is WatermarkType.INTEGER) == (type_ is WatermarkType.INTEGER)
    with capture.state.begin() as tx:
        if known.value is None or restart or not fits:
            to = next_watermark(None, None, horizon, last=True)
            if watermark.begin_anew(tx, known, to, type_, capture.now()) is not None:
                watermark.save_horizon(tx, horizon)
        control.save(tx, config_fingerprint(capture.config))
        if control.load(tx, ReconcileDue) == due:
            control.remove(tx, ReconcileDue)


def _column_changed(before: Fingerprint | None, now: Fingerprint) -> bool:
    return before is not None and before.watermark not in (None, now.watermark)


class _FullScan:
    """A scan of everything; `passed` is the watermark before which polls should have seen all."""

    def __init__(
        self,
        capture: Capture,
        scan: Scan,
        seen_ids: SeenIds,
        guard: RunGuard,
        passed: WatermarkValue | None,
    ) -> None:
        self._capture = capture
        self._scan = scan
        self._seen_ids = seen_ids
        self._guard = guard
        self._passed = passed
        self._map = capture.mapper(scan.zone)
        self._departed = 0  # rows that count as gone

    def whole(self, run: Run, stop: threading.Event, progress: Progress) -> Run:
        """Every row, then what no row was met of, and the guard's judgement of all of it."""
        run = self._pages(run, stop, progress)
        if not stop.is_set():
            run = self._look_for_gone(run, stop, progress)
        if not stop.is_set():
            with self._capture.state.begin() as tx:
                self._guard.end(tx, self._capture.now())
                add_to_totals(tx, run)
        return run

    def _pages(self, run: Run, stop: threading.Event, progress: Progress) -> Run:
        """Every row in scope, in pages, each one state transaction."""
        page: Page | None = None
        while not stop.is_set() and (page is None or page.next is not None):
            with self._capture.page_lock:
                page = self._scan.full_page(page.next if page else None)
                mapped = [self._map(row) for row in page.rows]
                changes, missed = self._record(mapped, page)
            self._seen_ids.add(row.source_id for row in page.rows)
            self._departed += sum(row.gone for row in page.rows)
            run = count_page(run, len(mapped), changes)
            run = replace(run, missed=run.missed + missed)
            progress(run)
        return run

    def _look_for_gone(self, run: Run, stop: threading.Event, progress: Progress) -> Run:
        """Known contracts that were not met are asked for by id once more, and then are gone.

        Where the source had no row at all, every one of them is held, guard or no guard.
        """
        is_empty = run.rows == 0
        for missing in self._seen_ids.missing(self._capture.config.source.page_size):
            if stop.is_set():
                break
            ids = [row.source_id for row in missing]
            run = count_page(run, 0, self._second_look(ids, hold=is_empty))
            progress(run)
        if is_empty:
            with self._capture.state.begin() as tx:
                self._guard.tell(tx, self._capture.now())
        return run

    def balance(self, run: Run) -> None:
        """The arithmetic of the scan: every row in scope is accounted for by a status."""
        nulls = self._scan.count_null_ids()
        with self._capture.state.begin() as tx:
            counts, departing = contracts.count_by_status(tx), contracts.count_departing(tx)
            by_status = {
                status.value: counts[status] - departing.get(status, 0)
                for status in Status
                if status is not Status.GONE
            }
            balance = Balance(
                at=self._capture.now(),
                rows=run.rows + nulls - self._departed,
                unexplained=nulls + run.rows - self._seen_ids.count,
                **by_status,
            )
            control.save(tx, balance)

    def _record(self, mapped: Sequence[Mapped], page: Page) -> tuple[list[Change], int]:
        """What was changed, and how much of it polls should have seen and did not."""
        if not mapped:
            return [], 0
        with self._capture.state.begin() as tx:
            changes = compare_page(tx, mapped, ends_on=self._capture.ends_on())
            missed = self._count_missed(changes, page)
            control.add_to_totals(tx, {"missed": missed} if missed else {})
            return self._guard.record(tx, changes, self._capture.now(), last=False), missed

    def _count_missed(self, changes: Sequence[Change], page: Page) -> int:
        if self._passed is None or not changes:
            return 0
        stamps = dict(zip((row.source_id for row in page.rows), page.stamps, strict=True))
        values = [
            self._scan.column.value_of(stamps[change.source_id])
            for change in changes
            if change.action in (Action.CREATE, Action.UPDATE, Action.INVALID)
        ]
        return sum(value is not None and is_before(value, self._passed) for value in values)

    def _second_look(self, ids: Sequence[SourceId], *, hold: bool) -> list[Change]:
        with self._capture.page_lock:
            # A row may have come in behind the scan.
            there = [self._map(row) for row in self._scan.existing(ids)]
            found = {seen.source_id for seen in there}
            absent = [source_id for source_id in ids if source_id not in found]
            ends_on = self._capture.ends_on()
            with self._capture.state.begin() as tx:
                changes = compare_page(tx, there, ends_on=ends_on)
                vanished = compare_absent(tx, absent, ends_on=ends_on)
                if hold:
                    self._guard.hold_gone(tx, vanished, self._capture.now())
                else:
                    changes += vanished
                self._guard.record(tx, changes, self._capture.now(), last=False)
        return [*changes, *vanished] if hold else changes


def recheck_held(
    capture: Capture, stop: threading.Event, progress: Progress = ignore_progress
) -> Run:
    """What the source says now of everything that is held: it goes, or is held again.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; what was not looked at by then
    stays held.
    """
    run = Run("discard", capture.now())
    with capture.state.read() as tx:
        until_run = holds.last_run_number(tx)
    after: SourceId | None = None
    with capture.source.scan() as scan, guard_run(capture, "discard") as guard:
        is_empty = not scan.full_page(None).rows
        while not stop.is_set():
            with capture.page_lock:
                with capture.state.read() as tx:
                    size = capture.config.source.page_size
                    ids = holds.page_of_held(tx, until_run, after, size)
                if not ids:
                    break
                run = count_page(run, len(ids), _look(capture, scan, guard, ids, hold=is_empty))
                after = ids[-1]
            progress(run)
        if not stop.is_set():
            with capture.state.begin() as tx:
                if is_empty:
                    guard.tell(tx, capture.now())
                else:
                    guard.end(tx, capture.now())
                holds.remove_report_if_none_held(tx)
    return run.ended(capture.now(), STOPPED if stop.is_set() else None)


def _look(
    capture: Capture, scan: Scan, guard: RunGuard, ids: Sequence[SourceId], *, hold: bool
) -> list[Change]:
    """What became of some; with `hold`, where the source has no row at all, they stay held."""
    map_row = capture.mapper(scan.zone)
    there = [map_row(row) for row in scan.existing(ids)]
    absent = sorted(set(ids) - {seen.source_id for seen in there})
    ends_on = capture.ends_on()
    with capture.state.begin() as tx:
        changes = compare_page(tx, there, ends_on=ends_on, ignore_previous=True)
        vanished = compare_absent(tx, absent, ends_on=ends_on, ignore_previous=True)
        if hold:
            guard.hold_gone(tx, vanished, capture.now())
            return [*guard.record(tx, changes, capture.now(), last=False), *vanished]
        return guard.record(tx, [*changes, *vanished], capture.now(), last=False)
