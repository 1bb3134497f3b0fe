"""Telling people through Apprise, which is imported only where there is somebody to tell.

The URLs are secrets: a receiver is named by its place in `alerts.urls` and its service.
"""

import hashlib
import logging
import re
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote

from cdc_sync.config.model import AlertsConfig
from cdc_sync.errors import UserMistake
from cdc_sync.log import Redaction
from cdc_sync.rules.alerting import Kind

TIMEOUT_SECONDS = 30.0
UNREADABLE = "Apprise cannot read this URL. See the service's page at appriseit.com."
_PARTS = re.compile(r"[^/:@?&=,;]+")


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

    def send(self, kind: Kind | None, title: str, body: str) -> str | None:
        """Sends a message; None where it went, else why it did not."""
        try:
            return self._sent(kind, title, body)
        except Exception as error:  # noqa: BLE001  # a hundred services, each with errors of its own
            return self._redact(f"{type(error).__name__}: {error}")

    def _sent(self, kind: Kind | None, title: str, body: str) -> str | None:
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


def receivers(config: AlertsConfig) -> list[Receiver]:
    """Whom to tell. Raises UserMistake where that needs Apprise and it is not installed."""
    if config.urls and find_spec("apprise") is None:
        raise UserMistake(
            "`alerts.urls` needs Apprise, which is not installed.",
            mend="Install it: pip install 'cdc-sync[alerts]'",
        )
    return [Receiver(place, url.get_secret_value()) for place, url in enumerate(config.urls, 1)]


def _apprise() -> Any:
    import apprise  # noqa: PLC0415  # it costs 300 ms and 20 MB, and is an extra

    # What goes wrong is in the result; in its log the URLs are.
    logging.getLogger("apprise").propagate = False
    return apprise
