"""A progress bar for deliveries, where there is a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cdc_sync.clock import utc_now
from cdc_sync.state import outbox
from cdc_sync.state.database import Database

REFRESH_SECONDS = 0.2


@contextmanager
def delivering(state: Database) -> Iterator[Callable[[], None]]:
    """Yields what is to be called now and then while contracts are delivered."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console  # only where there is a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        total, looked_at = 0, 0.0

        def show() -> None:
            nonlocal total, looked_at
            if time.monotonic() - looked_at < REFRESH_SECONDS:
                return
            looked_at = time.monotonic()
            with state.read() as tx:
                left = outbox.count_due(tx, utc_now())
            total = max(total, left)
            bar.update(task, total=total, completed=total - left)

        yield show
