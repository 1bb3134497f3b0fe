"""The status page beside the daemon: served where it can be, and no reason to stop where not."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

import structlog

from cdc_sync.errors import CdcSyncError
from cdc_sync.web.app import status_app
from cdc_sync.web.desk import Desk
from cdc_sync.web.server import serving

log = structlog.get_logger()

AGAIN_AFTER_SECONDS = 10.0


class Page:
    """The page at `web.listen`, inside a `with`; `beat` tries again while its port is taken."""

    def __init__(self, desk: Desk, told: Callable[[str], None]) -> None:
        self._desk = desk
        self._told = told
        self._served = ExitStack()
        self._due: float | None = 0.0
        self._failed = False

    def __enter__(self) -> Self:
        self.beat()
        return self

    def __exit__(self, *_error: object) -> None:
        self._served.close()

    def beat(self) -> None:
        """Serves it, if that is due: once, and again every few seconds until it succeeds."""
        listen = self._desk.config.web.listen
        if listen is None or self._due is None or time.monotonic() < self._due:
            return
        host, _, port = listen.rpartition(":")
        serve = serving(status_app(self._desk), host.strip("[]"), int(port))
        try:
            url = self._served.enter_context(serve)
        except CdcSyncError as error:
            self._due = time.monotonic() + AGAIN_AFTER_SECONDS
            if not self._failed:
                log.warning("page.unavailable", reason=error.what, mend="See `web.listen`.")
            self._failed = True
        else:
            self._due = None
            log.info("page.served", url=url)
            self._told(url)
