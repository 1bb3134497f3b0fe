"""Asks for the horizon before a scan, and remembers it; begins afresh where the source did."""

from cdc_sync.capture.page import Capture
from cdc_sync.rules.watermark import Horizon, WatermarkType, is_before
from cdc_sync.source.reader import Scan
from cdc_sync.state import control, watermark

AFRESH = "another server answers, or the source's clock was set back"


def ask_horizon(capture: Capture, scan: Scan) -> Horizon:
    """The horizon of a scan that has not begun. The watermark may have gone back after it.

    Raises SourceUnavailable and StateUnavailable.
    """
    with capture.horizon_lock:
        if capture.horizon is None:
            with capture.state.read() as tx:
                remembered = control.remembered(tx)
        else:
            remembered = capture.horizon.remembered
        horizon = scan.horizon(remembered, capture.now())
        if horizon.afresh:
            _begin_afresh(capture, horizon, scan.column.type)
        # Only now: a horizon that begins afresh must do so again where that was not recorded.
        capture.horizon = horizon
        return horizon


def _begin_afresh(capture: Capture, horizon: Horizon, type_: WatermarkType) -> None:
    """The watermark goes back with the horizon, and a reconcile is due.

    The new server may stamp below the old horizon, and may lack commits that were delivered.
    """
    now = capture.now()
    with capture.state.begin() as tx:
        known = watermark.read(tx)
        back = horizon.value
        if back is not None and known.value is not None and is_before(back, known.value):
            watermark.move(
                tx, back, type_=type_, kind="source", who="cdc-sync", reason=AFRESH, now=now
            )
        control.put(tx, control.RECONCILE_DUE, now.isoformat())
        control.keep_horizon(tx, horizon)
