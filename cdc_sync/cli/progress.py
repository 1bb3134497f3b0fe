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
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")
        began, total, looked_at = time.monotonic(), 0, 0.0

        def show() -> None:
            nonlocal began, total, looked_at
            now = time.monotonic()
            if now - looked_at < REFRESH_SECONDS:
                return
            looked_at = now
            with state.read() as tx:
                left = outbox.count_left(tx, utc_now())
            if not total:
                began = now
            total = max(total, left)
            done = total - left
            bar.update(
                task,
                description=f"{done:,} of {total:,}",
                total=total,
                completed=done,
                rate=f"{done / (now - began):,.0f}/s" if done else "",
            )

        yield show
