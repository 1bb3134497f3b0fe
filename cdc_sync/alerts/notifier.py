"""Alerts people to problems: checks the status every few seconds, and remembers in the state."""

import hashlib
import logging
import random
import re
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote

import structlog

from cdc_sync.alerts import policy
from cdc_sync.config.model import Config
from cdc_sync.customergauge.connection import use_for_alerts
from cdc_sync.errors import StateUnavailable, UserMistake
from cdc_sync.log import Redaction
from cdc_sync.operations.status import Trouble, find_troubles, read_status
from cdc_sync.state import control
from cdc_sync.state.database import Database
from cdc_sync.state.values import AlertKind, AlertMemory, KnownTrouble, UnsentAlert

log = structlog.get_logger()
LONGEST_INTERVAL = timedelta(seconds=10)
SHORTEST_INTERVAL = timedelta(milliseconds=500)
ALARMS = ("api", "poll", "reconcile", "held", "rejected", "unexplained")  # keys of troubles
STATE = "state"  #: the key of the trouble that only a daemon itself can know of
TITLES = {AlertKind.TROUBLE: "cdc-sync needs a look", AlertKind.OVER: "cdc-sync is well again"}
TIMEOUT_SECONDS = 30.0
UNREADABLE = "Apprise cannot read this URL. See the service's page at appriseit.com."
_PARTS = re.compile(r"[^/:@?&=,;]+")


class Notifier:
    """Sends alerts to `alerts.urls`; no failure of it ends anything else.

    Of several daemons on one state the one that captures sends them. That the state itself is away
    is sent by each: nobody then knows of the others.
    """

    def __init__(
        self,
        config: Config,
        state: Database,
        redact: Redaction,
        now: Callable[[], datetime],
        captures: Callable[[], bool],
    ) -> None:
        self._config = config
        self._state = state
        self._redact = redact
        self._now = now
        self._captures = captures
        self._receivers: dict[str, Receiver] = {}
        self._known: dict[str, KnownTrouble] = {}
        self._queue: list[UnsentAlert] = []
        self._stored: AlertMemory | None = None
        self._latest: dict[str, Trouble] = {}
        try:
            self._receivers = {receiver.key: receiver for receiver in receivers(config)}
        except UserMistake as error:  # the sync is worth running all the same
            log.warning("alerts.unavailable", reason=error.message, mend=error.hint)

    def run(self, stop: threading.Event) -> None:
        """Checks until `stop`; returns at once if nobody is to be alerted."""
        wait = max(SHORTEST_INTERVAL, min(LONGEST_INTERVAL, self._config.alerts.after / 2))
        while self._receivers and not stop.wait(wait.total_seconds()):
            try:
                self.check()
            except Exception:  # the sync goes on although nobody can be alerted
                log.exception("alerts.failed")

    def apply_config(self, config: Config) -> None:
        """Takes the delays of another configuration; the receivers stay."""
        self._config = config

    def check(self) -> None:
        """Checks once: decides which alerts there are, and sends what is due."""
        now, captures = self._now(), self._captures()
        if captures and not self._load():
            return
        if not captures:
            self._drop_loaded()
        troubles = self._find_troubles(now, captures=captures)
        messages, self._known = policy.decide(troubles, self._known, now, self._config.alerts.after)
        self._queue = policy.enqueue(self._queue, messages, list(self._receivers), now)
        self._save()
        while due := policy.due(self._queue, now):
            for alert in due:
                self._send(alert, now)
                self._save()

    def _load(self) -> bool:
        """Loads once what another process has sent; returns False while the state is away."""
        if self._stored is not None:
            return True
        try:
            with self._state.read() as tx:
                self._stored = control.load(tx, AlertMemory) or AlertMemory()
        except StateUnavailable:
            return False
        self._known = {**self._stored.known, **self._known}
        self._queue += self._stored.unsent
        return True

    def _drop_loaded(self) -> None:
        """Drops what was loaded: another daemon captures, and sends the alerts in the state."""
        if self._stored is not None:
            self._stored, self._queue, self._latest = None, [], {}
            self._known = {key: known for key, known in self._known.items() if key == STATE}

    def _find_troubles(self, now: datetime, *, captures: bool) -> list[Trouble]:
        try:
            found = find_troubles(read_status(self._state, now), self._config)
        except StateUnavailable as error:
            # What else there is cannot be known now: neither that it began, nor that it is over.
            return [*self._latest.values(), Trouble(STATE, self._redact(str(error)))]
        self._latest = {}
        for trouble in found:
            if captures and trouble.key in ALARMS:
                self._latest.setdefault(trouble.key, trouble)
        return list(self._latest.values())

    def _send(self, alert: UnsentAlert, now: datetime) -> None:
        receiver, kind = self._receivers[alert.to], alert.kind
        text = self._redact(alert.says)
        first_line = text.partition("\n")[0]
        sender = f"{socket.gethostname()}, {self._state.name}"
        reason = receiver.send(kind, TITLES[kind], f"{text}\n{sender}")
        at = self._queue.index(alert)
        if reason is None:
            log.info("alert.sent", receiver=receiver.name, kind=kind.name.lower(), says=first_line)
            del self._queue[at]
        else:
            self._queue[at] = policy.postpone(alert, now, random.random())  # noqa: S311
            log.warning("alert.not_sent", receiver=receiver.name, reason=reason, says=first_line)

    def _save(self) -> None:
        memory = AlertMemory(self._known, tuple(self._queue))
        if self._stored is None or memory == self._stored:
            return
        try:
            with self._state.begin() as tx:
                control.save(tx, memory)
        except StateUnavailable:
            return  # it is saved when the state is there again
        self._stored = memory


class Receiver:
    """One of `alerts.urls`."""

    def __init__(self, number: int, url: str) -> None:
        self._url = url
        scheme, _, rest = url.partition("://")
        self.name = f"{number} {scheme}"
        self.key = hashlib.sha256(url.encode()).hexdigest()[:16]
        parts = _PARTS.findall(rest)
        self._redact = Redaction([url, *parts, *map(unquote, parts)])

    def unusable_reason(self) -> str | None:
        """Returns why nothing can be sent there, as far as the URL tells; None if usable."""
        return self._use(lambda _services: None)

    def send(self, kind: AlertKind | None, title: str, body: str) -> str | None:
        """Sends a message; returns why it could not be sent, None if it was."""
        return self._use(lambda services: self._notify(services, kind, title, body))

    def _use(self, action: Callable[[Any], str | None]) -> str | None:
        try:
            import apprise  # noqa: PLC0415  # it costs 300 ms and 20 MB, and is an extra

            # What goes wrong is in the result; in its log the URLs are.
            logging.getLogger("apprise").propagate = False
            asset = apprise.AppriseAsset(app_id="cdc-sync", service_timeout=TIMEOUT_SECONDS)
            services = apprise.Apprise(asset=asset)
            return action(services) if services.add(self._url) else UNREADABLE
        except Exception as error:  # noqa: BLE001  # a hundred services, each with its own errors
            return self._redact(f"{type(error).__name__}: {error}")

    def _notify(self, services: Any, kind: AlertKind | None, title: str, body: str) -> str | None:
        result = services.notify(body, title, kind.value if kind else "info", body_format="text")
        if result:
            return None
        reasons = [entry.asdict()["message"] for entry in result.logs()]
        return self._redact(reasons[-1]) if reasons else "Apprise gives no reason."


def receivers(config: Config) -> list[Receiver]:
    """Returns who is alerted, by the same way out as CustomerGauge is reached.

    Raises UserMistake where that needs Apprise and it is missing.
    """
    urls = config.alerts.urls
    if urls and find_spec("apprise") is None:
        raise UserMistake(
            "`alerts.urls` needs Apprise, which is not installed.",
            hint="Install it: pip install 'cdc-sync[alerts]'",
        )
    if urls:
        use_for_alerts(config.customergauge)
    return [Receiver(number, url.get_secret_value()) for number, url in enumerate(urls, 1)]
