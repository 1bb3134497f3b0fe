"""One sweep: reads again what is stamped within a window, for changes that came too late for polls.

It ends at the stamp that polls have read to, moves no watermark, and records only what differs.
"""

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from cdc_sync.capture.guard import RunGuard, guard_run
from cdc_sync.capture.page import (
    Capture,
    Progress,
    add_to_totals,
    compare_page,
    count_page,
    differing_rows,
    each_page,
    ignore_progress,
    is_full_scan_due,
    stamps_of,
)
from cdc_sync.contract import Mapped, WatermarkValue
from cdc_sync.rules.compare import Change
from cdc_sync.rules.sweep import LateChanges, add_sample, lateness, sweep_start
from cdc_sync.rules.watermark import Sample, Watermark, WatermarkType, is_before
from cdc_sync.source.horizon import take_sample
from cdc_sync.source.reader import RowPage, Scan
from cdc_sync.state import control, watermark
from cdc_sync.state.history import Run
from cdc_sync.state.values import LateReport, NumberSamples


def sweep(
    capture: Capture,
    window: timedelta,
    stop: threading.Event,
    progress: Progress = ignore_progress,
) -> Run | None:
    """Reads again what is stamped within `window` and was passed by polls; records what differs.

    Returns None, and reads nothing, where the next poll reads everything. Raises
    SourceUnavailable, SourceMistake and StateUnavailable.
    """
    run = Run("sweep", capture.now())
    with capture.state.read() as tx:
        known = watermark.read(tx)
        if is_full_scan_due(capture, tx):
            return None
    with capture.source.scan() as scan:
        if not known.fits(scan.column.type):
            return None
        bounds = read_bounds(capture, scan, known, window)
        if bounds is None:
            return run.ended(capture.now())
        with guard_run(capture, "sweep") as guard:
            return _Sweep(capture, scan, guard, bounds, run).read(stop, progress)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a sweep starts and ends; what is stamped before `passed` is not read by polls."""

    start: WatermarkValue
    end: WatermarkValue
    passed: WatermarkValue
    clock: datetime  #: the source's
    window: timedelta
    samples: tuple[Sample, ...] = ()  #: of a column of numbers


def read_bounds(
    capture: Capture, scan: Scan, known: Watermark, window: timedelta, *, save: bool = True
) -> Bounds | None:
    """Returns what a sweep reads; None where polls have passed nothing of it.

    A column of numbers is sampled here; with `save` the sample is kept.
    """
    assert known.value is not None  # else there is nothing that was passed  # noqa: S101
    samples: tuple[Sample, ...] | None = None
    clock = scan.dialect.clock(scan.connection)
    if scan.column.type is WatermarkType.INTEGER:
        samples = _sampled(capture, scan, save=save)
    start = sweep_start(window, clock, samples)
    read_to, end = capture.read_to, known.value
    if read_to is not None and read_to.version == known.version and is_before(end, read_to.value):
        end = read_to.value
    if start is None or not is_before(start, end):
        return None
    # Of a DATE polls read the whole day of the watermark again.
    passed = scan.column.value_of(scan.column.bound(known.value))
    return Bounds(start, end, passed or known.value, clock, window, samples or ())


def _sampled(capture: Capture, scan: Scan, *, save: bool) -> tuple[Sample, ...]:
    new, windows = take_sample(scan), capture.config.source.sweeps
    with capture.state.read() as tx:
        stored = control.load(tx, NumberSamples) or NumberSamples()
    if new is None or not windows:
        return stored.samples
    samples = add_sample(stored.samples, new, windows)
    if save and samples != stored.samples:
        with capture.state.begin() as tx:
            control.save(tx, NumberSamples(samples))
    return samples


@dataclass
class _Sweep:
    """The pages of one sweep."""

    capture: Capture
    scan: Scan
    guard: RunGuard
    bounds: Bounds
    run: Run
    late: LateChanges = field(default_factory=LateChanges)
    is_done: bool = False
    has_recorded: bool = False

    def __post_init__(self) -> None:
        self.map_row = self.capture.mapper(self.scan.zone)

    def read(self, stop: threading.Event, progress: Progress) -> Run:
        """Reads and records page after page; at the end the guard judges what has changed."""

        def record(page: RowPage) -> None:
            self._record_page(page)
            self.is_done = page.end is None or not is_before(page.end, self.bounds.end)
            progress(self.run)

        each_page(
            self.capture.page_lock.turn(self.bounds.window.total_seconds()),
            partial(self.scan.changed_page, self.bounds.start),
            record,
            lambda: stop.is_set() or self.is_done,
        )
        if self.has_recorded and not stop.is_set():
            with self.capture.state.begin() as tx:
                self.guard.end(tx, self.capture.now())
        self._report()
        return self.run.ended(self.capture.now())

    def _record_page(self, page: RowPage) -> None:
        rows = [self.map_row(row) for row in page.rows]
        differing = differing_rows(self.capture, rows)
        changes = self._write(differing, page) if differing else []
        most = self.late.most.total_seconds() if self.late.most else None
        run = count_page(self.run, len(rows), changes)
        self.run = replace(run, late=self.late.count, late_seconds=most)

    def _write(self, differing: list[Mapped], page: RowPage) -> list[Change]:
        now, late = self.capture.now(), self.late
        seconds: list[timedelta | None] = []
        with self.capture.state.begin() as tx:
            changes = compare_page(tx, differing, ends_on=self.capture.ends_on())
            for stamp in stamps_of(self.scan, page, changes):
                if stamp is not None and is_before(stamp, self.bounds.passed):
                    seconds.append(lateness(stamp, self.bounds.clock, self.bounds.samples))
                    late = late.add(stamp, seconds[-1])
            found = count_page(Run("sweep", now), len(changes), changes)
            add_to_totals(tx, replace(found, late=late.count - self.late.count))
            self.guard.record(tx, changes, now, last=False)
        self.capture.measures.record_late(
            None if each is None else each.total_seconds() for each in seconds
        )
        self.has_recorded, self.late = True, late
        return changes

    def _report(self) -> None:
        if not self.late.count:
            return
        horizon = self.capture.horizon
        cause = self.late.cause(self.bounds.window, horizon.basis if horizon else "lookback")
        with self.capture.state.begin() as tx:
            control.save(tx, LateReport(self.capture.now(), cause.message, cause.hint))
