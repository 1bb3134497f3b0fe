"""What is held is dropped, and looked at afresh in the source, by id: one run, judged anew."""

import threading
from collections.abc import Sequence

from cdc_sync.capture.guarded import Guarded, guarded
from cdc_sync.capture.page import Capture, changes_of, counted, gone_of
from cdc_sync.contract import SourceId
from cdc_sync.rules.compare import Change
from cdc_sync.source.reader import Scan
from cdc_sync.state import holds
from cdc_sync.state.history import STOPPED, Run


def look_afresh(capture: Capture, stop: threading.Event) -> Run:
    """What the source says now of everything that is held: it goes, or is held again.

    Raises SourceUnavailable, SourceMistake and StateUnavailable; what was not looked at by then
    stays held.
    """
    run = Run("discard", capture.now())
    with capture.state.read() as tx:
        until_run = holds.last_run(tx)
    after: SourceId | None = None
    with capture.source.scan() as scan, guarded(capture, "discard") as guard:
        is_empty = not scan.full_page(None).rows
        while not stop.is_set():
            with capture.page_lock:
                with capture.state.read() as tx:
                    size = capture.config.source.page_size
                    ids = holds.page_of_held(tx, until_run, after, size)
                if not ids:
                    break
                run = counted(run, len(ids), _look(capture, scan, guard, ids, hold=is_empty))
                after = ids[-1]
        if not stop.is_set():
            with capture.state.begin() as tx:
                if is_empty:
                    guard.tell(tx, capture.now())
                else:
                    guard.end(tx, capture.now())
                holds.forget_if_none(tx)
    return run.ended(capture.now(), STOPPED if stop.is_set() else None)


def _look(
    capture: Capture, scan: Scan, guard: Guarded, ids: Sequence[SourceId], *, hold: bool
) -> list[Change]:
    """What became of some; with `hold`, where the source has no row at all, they stay held."""
    map_row = capture.mapper(scan.zone)
    there = [map_row(row) for row in scan.existing(ids)]
    absent = sorted(set(ids) - {seen.source_id for seen in there})
    ends_on = capture.ends_on()
    with capture.state.begin() as tx:
        changes = changes_of(tx, there, ends_on=ends_on, afresh=True)
        vanished = gone_of(tx, absent, ends_on=ends_on, afresh=True)
        if hold:
            guard.hold_gone(tx, vanished, capture.now())
            return [*guard.record(tx, changes, capture.now(), last=False), *vanished]
        return guard.record(tx, [*changes, *vanished], capture.now(), last=False)
