"""One poll: horizon, pages from the watermark on, each page one state transaction."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cdc_sync.capture.guard import RunGuard, guard_run, interrupted_runs
from cdc_sync.capture.page import (
    IN_THE_FUTURE,
    POLL_RANK,
    Capture,
    Progress,
    add_to_totals,
    compare_page,
    count_page,
    differing_rows,
    each_page,
    ignore_progress,
    is_full_scan_due,
    restart_from,
    update_horizon,
)
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.contract import Mapped, WatermarkValue
from cdc_sync.rules.compare import Change
from cdc_sync.rules.watermark import (
    Horizon,
    ReadTo,
    Watermark,
    is_before,
    next_watermark,
)
from cdc_sync.source.reader import RowPage, Scan
from cdc_sync.state import watermark
from cdc_sync.state.history import Run

STILL_FOR_SECONDS = 60  # an idle poll leaves a stored watermark alone that is younger than this


def poll(capture: Capture, stop: threading.Event, progress: Progress = ignore_progress) -> Run:
    """Reads what changed since the watermark and records it; everything where there is none yet.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; what was recorded until then
    stays, and the next poll goes on from there.
    """
    with capture.state.read() as tx:
        known = watermark.read(tx)
        is_due = is_full_scan_due(capture, tx)
        leftovers = interrupted_runs(tx, capture)
    if is_due:
        return reconcile(capture, stop, progress)
    with capture.source.scan() as scan:
        if known.fits(scan.column.type):
            horizon, known = _read_horizon(capture, scan, known)  # before the first page
            start = _start(capture, known, horizon)
            if start is not None:
                with guard_run(capture, "poll") as guard:
                    pages = _Poll(capture, scan, horizon, guard, known, bool(leftovers))
                    return pages.run(start, stop, progress)
    return reconcile(capture, stop, progress)


def _read_horizon(capture: Capture, scan: Scan, known: Watermark) -> tuple[Horizon, Watermark]:
    """Returns the horizon, and the watermark after what the source's clock says of it."""
    horizon = update_horizon(capture, scan)
    is_future = not horizon.source_changed and known.is_later_than(horizon.clock)
    if is_future:
        restart_from(capture, horizon, scan.column.type, IN_THE_FUTURE)
    if is_future or horizon.source_changed:
        with capture.state.read() as tx:
            return horizon, watermark.read(tx)
    return horizon, known


def _start(capture: Capture, known: Watermark, horizon: Horizon) -> WatermarkValue | None:
    """Returns where a poll starts: the watermark, or beyond it if nothing can be behind."""
    read_to = capture.read_to
    if read_to is not None and read_to.still_holds(known, horizon):
        return read_to.value
    return known.value


@dataclass
class _Poll:
    """The pages of one poll, from a watermark on; it ends early where a person moves that.

    With `judges` its last page ends the runs that were cut short, too.
    """

    capture: Capture
    scan: Scan
    horizon: Horizon
    guard: RunGuard
    at: Watermark
    judges: bool
    was_moved: bool = False  #: by a person

    def __post_init__(self) -> None:
        self.map_row = self.capture.mapper(self.scan.zone)
        self.result = Run("poll", self.capture.now())

    def run(self, start: WatermarkValue, stop: threading.Event, progress: Progress) -> Run:
        def record(page: RowPage) -> None:
            self._record_page(page)
            if page.next is not None:
                progress(self.result)

        each_page(
            self.capture.page_lock.turn(POLL_RANK),
            partial(self.scan.changed_page, start),
            record,
            lambda: stop.is_set() or self.was_moved,
        )
        return self.result.ended(self.capture.now())

    def _record_page(self, page: RowPage) -> None:
        """Records a page; after the last one nothing is written if there is nothing to write."""
        rows = [self.map_row(row) for row in page.rows]
        is_last = page.next is None
        to = next_watermark(self.at.value, page.end, self.horizon, last=is_last)
        must_write = not is_last or self._must_write(to)
        differing = rows if must_write else differing_rows(self.capture, rows)
        changes: Sequence[Change] = ()
        if must_write or differing:
            changes = self._write(differing, len(rows), to, last=is_last)
        self.result = count_page(self.result, len(rows), changes)
        if is_last and not self.was_moved:
            self._remember_read_to(to)

    def _must_write(self, to: WatermarkValue | None) -> bool:
        """Whether the last page is written even if no row differs."""
        at, now = self.at, self.capture.now()
        if self.judges or self.guard.number is not None:
            return True
        if to == at.value:
            return False
        # `moved_at` may be in the future: the system clock was set back.
        return at.moved_at is None or not (
            0 <= (now - at.moved_at).total_seconds() < STILL_FOR_SECONDS
        )

    def _write(
        self, rows: Sequence[Mapped], count: int, to: WatermarkValue | None, *, last: bool
    ) -> Sequence[Change]:
        """Records what changed of `count` rows and the watermark, in ONE state transaction."""
        now = self.capture.now()
        with self.capture.state.begin() as tx:
            changes = compare_page(tx, rows, ends_on=self.capture.ends_on())
            changes = self.guard.record(tx, changes, now, last=last)
            add_to_totals(tx, count_page(Run("poll", now), count, changes))
            moved = watermark.advance(tx, self.at, to, self.scan.column.type, now)
            if moved is not None and last:
                watermark.save_horizon(tx, self.horizon)
        self.was_moved = moved is None
        self.at = moved or self.at
        return changes

    def _remember_read_to(self, to: WatermarkValue | None) -> None:
        value = to if self.horizon.ahead is None else self.horizon.ahead
        if value is None:
            return
        if to is not None and is_before(value, to):
            value = to
        holders = frozenset(one.key for one in self.horizon.holders)
        self.capture.read_to = ReadTo(value, self.at.version, holders)
