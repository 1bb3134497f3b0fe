"""structlog set up once: console on a terminal, JSON otherwise; secrets are masked last."""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from cdc_sync.recent import RecentLog
from cdc_sync.redaction import Redaction

_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
# At DEBUG these log tokens, headers and bodies, whatever our own level is.
_QUIET = (
    "requests_oauthlib",
    "oauthlib",
    "urllib3",
    "aiohttp",
    "asyncio",
    "apscheduler",
    "alembic",
)


def configure_log(
    level: str, form: str, redact: Redaction, recent: RecentLog | None = None
) -> None:
    """Sends every event to stderr, one a line, from `level` on, in `form` (auto, console, json).

    In `recent`, for the page, events are kept from info on, also where fewer are sent.
    """
    made_from = _LEVELS[level] if recent is None else min(_LEVELS[level], logging.INFO)
    kept: list[Any] = [] if recent is None else [recent, _From(_LEVELS[level])]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            *_timestamps(),
            structlog.processors.format_exc_info,
            _Redacting(redact),
            *kept,
            _renderer(form),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(made_from),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Handler(logging.Handler):
    """The warnings of libraries, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning(
            "library.warned",
            library=record.name,
            says=record.getMessage(),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


class _Redacting:
    def __init__(self, redact: Redaction) -> None:
        self._redact = redact

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: self._masked(value) for key, value in event.items()}

    def _masked(self, value: Any) -> Any:
        return self._redact(value) if isinstance(value, str) else value


class _From:
    """Drops what is less severe than a level."""

    def __init__(self, level: int) -> None:
        self._level = level

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if _LEVELS.get(event["level"], logging.CRITICAL) < self._level:
            raise structlog.DropEvent
        return event


def _timestamps() -> list[Any]:
    # The journal has its own.
    if os.environ.get("JOURNAL_STREAM"):
        return []
    return [structlog.processors.TimeStamper(fmt="iso", utc=True)]


def _renderer(form: str) -> Any:
    if form == "console" or (form == "auto" and sys.stderr.isatty()):
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
