"""One poll: horizon, pages from the watermark on, each page one state transaction."""

import threading
from collections.abc import Sequence
from datetime import datetime

from cdc_sync.capture.guard import RunGuard, guard_run, interrupted_runs
from cdc_sync.capture.page import (
    Capture,
    Progress,
    add_to_totals,
    compare_page,
    config_fingerprint,
    count_page,
    ignore_progress,
    update_horizon,
)
from cdc_sync.capture.reconcile import reconcile
from cdc_sync.contract import Mapped, WatermarkValue
from cdc_sync.rules.compare import Change
from cdc_sync.rules.watermark import (
    Horizon,
    ReadTo,
    Watermark,
    WatermarkType,
    is_before,
    next_watermark,
)
from cdc_sync.source.reader import Page, Scan
from cdc_sync.state import control, watermark
from cdc_sync.state.history import Run
from cdc_sync.state.values import Fingerprint, ReconcileDue

STILL_FOR_SECONDS = 60  # an idle poll leaves a stored watermark alone that is younger than this


def poll(capture: Capture, stop: threading.Event, progress: Progress = ignore_progress) -> Run:
    """Reads what changed since the watermark and records it; everything where there is none yet.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; what was recorded until then
    stays, and the next poll goes on from there.
    """
    with capture.state.read() as tx:
        known = watermark.read(tx)
        before = control.load(tx, Fingerprint)
        due = control.load(tx, ReconcileDue)
        leftovers = interrupted_runs(tx, capture)
    if known.value is None or due or before not in (None, config_fingerprint(capture.config)):
        return reconcile(capture, stop, progress)
    with capture.source.scan() as scan:
        if not _fits(known, scan.column.type):
            return reconcile(capture, stop, progress)
        horizon = update_horizon(capture, scan)  # before the scan
        if horizon.source_changed:
            with capture.state.read() as tx:
                known = watermark.read(tx)
        start = _start(capture, known, horizon)
        if start is None:
            return reconcile(capture, stop, progress)
        with guard_run(capture, "poll") as guard:
            pages = _Poll(capture, scan, horizon, guard, judges=bool(leftovers))
            return pages.run(known, start, stop, progress)


def _start(capture: Capture, known: Watermark, horizon: Horizon) -> WatermarkValue | None:
    """Where a poll starts: the watermark, or beyond it where nothing can have come in behind."""
    read_to = capture.read_to
    if read_to is not None and read_to.still_holds(known, horizon):
        return read_to.value
    return known.value


class _Poll:
    """The pages of one poll, which `judges` what runs that were cut short left waiting."""

    def __init__(
        self, capture: Capture, scan: Scan, horizon: Horizon, guard: RunGuard, *, judges: bool
    ) -> None:
        self._capture = capture
        self._scan = scan
        self._horizon = horizon
        self._guard = guard
        self._judges = judges
        self._map = capture.mapper(scan.zone)

    def run(
        self, known: Watermark, start: WatermarkValue, stop: threading.Event, progress: Progress
    ) -> Run:
        run = Run("poll", self._capture.now())
        page: Page | None = None
        at: Watermark | None = known
        while at is not None and not stop.is_set() and (page is None or page.next is not None):
            with self._capture.page_lock:
                page = self._scan.changed_page(start, page.next if page else None)
                mapped = [self._map(row) for row in page.rows]
                to = next_watermark(at.value, page.end, self._horizon, last=page.next is None)
                if page.next is None and self._idle(at, to, mapped):
                    changes: Sequence[Change] = ()
                else:
                    at, changes = self._record(at, to, mapped, last=page.next is None)
                if at is not None and page.next is None:
                    self._note_read_to(at, to)
            run = count_page(run, len(mapped), changes)
            if page.next is not None:
                progress(run)
        return run.ended(self._capture.now())

    def _note_read_to(self, at: Watermark, to: WatermarkValue | None) -> None:
        value = self._horizon.ahead if self._horizon.ahead is not None else to
        if value is not None:
            if to is not None and is_before(value, to):
                value = to
            holders = frozenset(one.key for one in self._horizon.holders)
            self._capture.read_to = ReadTo(value, at.version, holders)

    def _idle(self, at: Watermark, to: WatermarkValue | None, mapped: Sequence[Mapped]) -> bool:
        """Whether there is nothing to record, found out without a write."""
        must_end = self._judges or self._guard.number is not None
        if must_end or _worth_a_write(at, to, self._capture.now()):
            return False
        if not mapped:
            return True
        with self._capture.state.read() as tx:
            return not compare_page(tx, mapped, ends_on=self._capture.ends_on())

    def _record(
        self, at: Watermark, to: WatermarkValue | None, mapped: Sequence[Mapped], *, last: bool
    ) -> tuple[Watermark | None, Sequence[Change]]:
        """ONE state transaction: what changed, and the watermark; None where a person moved it."""
        now = self._capture.now()
        with self._capture.state.begin() as tx:
            changes = compare_page(tx, mapped, ends_on=self._capture.ends_on())
            changes = self._guard.record(tx, changes, now, last=last)
            add_to_totals(tx, count_page(Run("poll", now), len(mapped), changes))
            moved = watermark.advance(tx, at, to, self._scan.column.type, now)
            if moved is not None and last:
                watermark.save_horizon(tx, self._horizon)
        return moved, changes


def _worth_a_write(at: Watermark, to: WatermarkValue | None, now: datetime) -> bool:
    if to == at.value:
        return False
    # Younger than nothing: our clock was set back since.
    return at.moved_at is None or not (0 <= (now - at.moved_at).total_seconds() < STILL_FOR_SECONDS)


def _fits(known: Watermark, type_: WatermarkType) -> bool:
    return (known.type is WatermarkType.INTEGER) == (type_ is WatermarkType.INTEGER)
