"""Tells people of troubles: looks every few seconds, remembers in the state what was told."""

import hashlib
import logging
import random
import re
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote

import structlog

from cdc_sync.alerts import policy
from cdc_sync.alerts.policy import decide
from cdc_sync.config.model import AlertsConfig, Config
from cdc_sync.errors import StateUnavailable, UserMistake
from cdc_sync.log import Redaction
from cdc_sync.operations.status import Trouble, find_troubles, read_status
from cdc_sync.state import control
from cdc_sync.state.database import Database
from cdc_sync.state.values import AlertKind, AlertMemory, KnownTrouble, UnsentAlert

log = structlog.get_logger()
LOOK_EVERY = timedelta(seconds=10)
LOOK_OFTENEST = timedelta(milliseconds=500)
#: Findings that are alarms.
TOLD_OF = ("api", "poll", "reconcile", "held", "rejected", "unexplained")
STATE = "state"  #: the key of the trouble that only a daemon itself can know of
TITLES = {AlertKind.TROUBLE: "cdc-sync needs a look", AlertKind.OVER: "cdc-sync is well again"}
TIMEOUT_SECONDS = 30.0
UNREADABLE = "Apprise cannot read this URL. See the service's page at appriseit.com."
_PARTS = re.compile(r"[^/:@?&=,;]+")


class Alerts:
    """What is told, and to whom; no failure of it ends anything else.

    Of several daemons on one state the one that captures tells. That the state itself is away
    tells each of them: there is nobody then who knows of the others.
    """

    def __init__(
        self,
        config: Config,
        state: Database,
        redact: Redaction,
        now: Callable[[], datetime],
        captures: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._state = state
        self._redact = redact
        self._now = now
        self._captures = captures
        self._receivers = _receivers(config)
        self._memory: dict[str, KnownTrouble] = {}
        self._queue: list[UnsentAlert] = []
        self._kept: AlertMemory | None = None
        self._last: dict[str, Trouble] = {}

    def run(self, stop: threading.Event) -> None:
        """Looks until `stop`; at once where there is nobody to tell."""
        every = max(LOOK_OFTENEST, min(LOOK_EVERY, self._config.alerts.after / 2))
        while self._receivers and not stop.wait(every.total_seconds()):
            try:
                self.look()
            except Exception:  # the sync does not end because nobody can be told
                log.exception("alerts.failed")

    def apply_config(self, config: Config) -> None:
        """From now on this configuration says what is late; the receivers stay."""
        self._config = config

    def look(self) -> None:
        """Looks once: decides what is told, and sends what is due."""
        now, ours = self._now(), self._captures()
        if ours and not self._recall():
            return
        if not ours:
            self._leave()
        troubles = self._troubles(now, ours=ours)
        after = self._config.alerts.after
        messages, self._memory = decide(troubles, self._memory, now, after)
        names = [receiver.key for receiver in self._receivers]
        self._queue = policy.queued(self._queue, messages, names, now)
        self._keep()
        while due := policy.due(self._queue, now):
            for one in due:
                self._send(one, now)
                self._keep()

    def _recall(self) -> bool:
        """Reads once what another process has told; False where that cannot be known now."""
        if self._kept is not None:
            return True
        try:
            with self._state.read() as tx:
                kept = control.load(tx, AlertMemory) or AlertMemory()
        except StateUnavailable:
            return False
        self._memory = {**kept.known, **self._memory}
        self._queue += kept.unsent
        self._kept = kept
        return True

    def _leave(self) -> None:
        """Another captures: what the state keeps of it is that one's to tell."""
        if self._kept is not None:
            self._kept, self._queue, self._last = None, [], {}
            self._memory = {key: self._memory[key] for key in self._memory if key == STATE}

    def _troubles(self, now: datetime, *, ours: bool) -> list[Trouble]:
        try:
            found = find_troubles(read_status(self._state, now), self._config)
        except StateUnavailable as error:
            # What else there is cannot be known now: neither that it began, nor that it is over.
            return [*self._last.values(), Trouble(STATE, self._redact(str(error)))]
        self._last = {}
        for trouble in found:
            if ours and trouble.key in TOLD_OF:
                self._last.setdefault(trouble.key, trouble)
        return list(self._last.values())

    def _send(self, one: UnsentAlert, now: datetime) -> None:
        receiver = next(receiver for receiver in self._receivers if receiver.key == one.to)
        kind, body = one.kind, self._redact(one.says)
        says = body.partition("\n")[0]
        place = f"{socket.gethostname()}, {self._state.name}"
        why = receiver.send(kind, TITLES[kind], f"{body}\n{place}")
        at = self._queue.index(one)
        if why is None:
            log.info("alert.sent", receiver=receiver.name, kind=kind.name.lower(), says=says)
            self._queue[at : at + 1] = []
        else:
            self._queue[at] = policy.postponed(one, now, random.random())  # noqa: S311
            log.warning("alert.not_sent", receiver=receiver.name, reason=why, says=says)

    def _keep(self) -> None:
        memory = AlertMemory(self._memory, tuple(self._queue))
        if self._kept is None or memory == self._kept:
            return
        try:
            with self._state.begin() as tx:
                control.save(tx, memory)
        except StateUnavailable:
            return  # kept in memory, and in the state when it is there again
        self._kept = memory


class Receiver:
    """One of `alerts.urls`."""

    def __init__(self, place: int, url: str) -> None:
        self._url = url
        scheme, _, rest = url.partition("://")
        self.name = f"{place} {scheme}"
        self.key = hashlib.sha256(url.encode()).hexdigest()[:16]
        parts = _PARTS.findall(rest)
        self._redact = Redaction([url, *parts, *map(unquote, parts)])

    def why_unusable(self) -> str | None:
        """Why nothing can be sent there, as far as the URL tells; None where it can."""
        try:
            usable = _apprise().Apprise().add(self._url)
        except Exception as error:  # noqa: BLE001  # as below
            return self._redact(f"{type(error).__name__}: {error}")
        return None if usable else UNREADABLE

    def send(self, kind: AlertKind | None, title: str, body: str) -> str | None:
        """Sends a message; None where it went, else why it did not."""
        try:
            return self._sent(kind, title, body)
        except Exception as error:  # noqa: BLE001  # a hundred services, each with errors of its own
            return self._redact(f"{type(error).__name__}: {error}")

    def _sent(self, kind: AlertKind | None, title: str, body: str) -> str | None:
        apprise = _apprise()
        asset = apprise.AppriseAsset(app_id="cdc-sync", service_timeout=TIMEOUT_SECONDS)
        services = apprise.Apprise(asset=asset)
        if not services.add(self._url):
            return UNREADABLE
        kind_said = kind.value if kind else "info"
        result = services.notify(body, title, kind_said, body_format="text")
        if result:
            return None
        said = [entry.asdict()["message"] for entry in result.logs()]
        return self._redact(said[-1]) if said else "Apprise gives no reason."


def _receivers(config: Config) -> Sequence[Receiver]:
    try:
        return receivers(config.alerts)
    except UserMistake as error:  # the sync is worth running all the same
        log.warning("alerts.unavailable", reason=error.message, mend=error.hint)
        return ()


def receivers(config: AlertsConfig) -> list[Receiver]:
    """Whom to tell. Raises UserMistake where that needs Apprise and it is not installed."""
    if config.urls and find_spec("apprise") is None:
        raise UserMistake(
            "`alerts.urls` needs Apprise, which is not installed.",
            hint="Install it: pip install 'cdc-sync[alerts]'",
        )
    return [Receiver(place, url.get_secret_value()) for place, url in enumerate(config.urls, 1)]


def _apprise() -> Any:
    import apprise  # noqa: PLC0415  # it costs 300 ms and 20 MB, and is an extra

    # What goes wrong is in the result; in its log the URLs are.
    logging.getLogger("apprise").propagate = False
    return apprise
