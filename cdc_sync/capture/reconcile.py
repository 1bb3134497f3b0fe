"""The whole source in id order against the whole state: the first run, and what polls cannot see.

It finds rows whose watermark column was not bumped or is NULL, and contracts that are gone.
"""

import threading
from collections.abc import Sequence

from cdc_sync.capture.page import Capture, changes_of, counted
from cdc_sync.capture.shape import shape_of
from cdc_sync.contract import Mapped, SourceId, Status
from cdc_sync.errors import SourceUnavailable
from cdc_sync.rules.compare import Change, gone
from cdc_sync.rules.watermark import Horizon, Watermark, WatermarkType, reached
from cdc_sync.source.reader import Page, Scan
from cdc_sync.state import contracts, control, watermark
from cdc_sync.state.history import Run
from cdc_sync.state.sweep import Sweep, sweeping


def reconcile(capture: Capture, stop: threading.Event) -> Run:
    """Compares everything. Where there is no watermark yet, it is set at the end.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; a read that failed or stopped
    early calls nothing gone and sets no watermark.
    """
    with capture.state.read() as tx:
        known = watermark.read(tx)
        remembered = control.remembered_pair(tx)
        shape = control.get(tx, control.SHAPE) or {}
    with capture.source.scan() as scan, sweeping(capture.state) as sweep:
        horizon = scan.horizon(remembered)  # before the scan
        capture.horizon = horizon
        full = _FullScan(capture, scan, sweep)
        run = full.pages(
            Run("initial" if known.value is None else "reconcile", capture.now()), stop
        )
        if stop.is_set():
            return run.ended(capture.now(), "stopped before its end")
        run = full.look_for_gone(run, stop)
        column_changed = shape.get("watermark") not in (None, shape_of(capture.config)["watermark"])
        _finish(capture, known, horizon, scan, restart=column_changed)
        full.balance(run)
        return run.ended(capture.now())


def _finish(
    capture: Capture, known: Watermark, horizon: Horizon, scan: Scan, *, restart: bool
) -> None:
    """Sets the watermark of a first run; notes that payloads are of this configuration now."""
    type_ = scan.column.type
    fits = (known.type is WatermarkType.INTEGER) == (type_ is WatermarkType.INTEGER)
    with capture.state.begin() as tx:
        if known.value is None or restart or not fits:
            to = reached(None, None, horizon, last=True)
            if watermark.advance(tx, known, to, type_, capture.now()) is not None:
                control.keep_horizon(tx, horizon)
        control.put(tx, control.SHAPE, shape_of(capture.config))


class _FullScan:
    def __init__(self, capture: Capture, scan: Scan, sweep: Sweep) -> None:
        self._capture = capture
        self._scan = scan
        self._sweep = sweep
        self._map = capture.mapper(scan.zone)

    def pages(self, run: Run, stop: threading.Event) -> Run:
        """Every row in scope, in pages, each one state transaction."""
        page: Page | None = None
        while not stop.is_set() and (page is None or page.next is not None):
            with self._capture.page_lock:
                page = self._scan.full_page(page.next if page else None)
                mapped = [self._map(row) for row in page.rows]
                changes = self._record(mapped)
            self._sweep.met(row.source_id for row in page.rows)
            run = counted(run, len(mapped), changes)
            self._capture.progress(run)
        return run

    def look_for_gone(self, run: Run, stop: threading.Event) -> Run:
        """Known contracts that were not met are asked for by id once more, and then are gone."""
        for unmet in self._sweep.unmet(self._capture.config.source.page_size):
            if stop.is_set():
                break
            if run.rows == 0:
                raise SourceUnavailable(
                    "The source has no row in scope although contracts are known;"
                    " nothing is called gone.",
                    mend="Check `source.table`, `source.where` and the reader's rights.",
                )
            run = counted(run, 0, self._second_look([row.source_id for row in unmet]))
        return run

    def balance(self, run: Run) -> None:
        """The arithmetic of the scan: every row in scope is accounted for by a status."""
        nulls = self._scan.count_null_ids()
        with self._capture.state.begin() as tx:
            counts = contracts.counts(tx)
            document: dict[str, object] = {
                "at": self._capture.now().isoformat(),
                "rows": run.rows + nulls,
                **{status.value: counts[status] for status in Status if status is not Status.GONE},
                "unexplained": nulls + run.rows - self._sweep.met_count,
            }
            control.put(tx, control.BALANCE, document)

    def _record(self, mapped: Sequence[Mapped]) -> list[Change]:
        if not mapped:
            return []
        with self._capture.state.begin() as tx:
            changes = changes_of(tx, mapped, ends_on=self._capture.ends_on())
            contracts.record(tx, changes, self._capture.now())
        return changes

    def _second_look(self, ids: Sequence[SourceId]) -> list[Change]:
        with self._capture.page_lock:
            # A row may have come in behind the scan.
            there = [self._map(row) for row in self._scan.existing(ids)]
            found = {seen.source_id for seen in there}
            absent = [source_id for source_id in ids if source_id not in found]
            ends_on = self._capture.ends_on()
            with self._capture.state.begin() as tx:
                rows = contracts.known(tx, absent).values()
                vanished = [gone(contracts.as_known(row), ends_on=ends_on) for row in rows]
                changes = [
                    *changes_of(tx, there, ends_on=ends_on),
                    *(change for change in vanished if change is not None),
                ]
                contracts.record(tx, changes, self._capture.now())
        return changes
