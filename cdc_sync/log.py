"""structlog set-up, the redaction of secrets, and the recent lines that the page shows."""

import base64
import logging
import os
import re
import string
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TextIO

import structlog

from cdc_sync.clock import utc_now

_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
# At DEBUG these log tokens, headers and bodies, whatever our own level is.
_QUIET = (
    "requests_oauthlib",
    "oauthlib",
    "urllib3",
    "asyncio",
    "apscheduler",
    "alembic",
)
KEPT = timedelta(hours=1)
MOST_LINES = 2000
LONGEST = 500  # characters of a value
_APART = {"event", "level", "timestamp"}
MASK = "***"
SHORTEST = 4  # characters of a secret: those of a shorter one stand in every line
_PLAIN = frozenset(string.ascii_letters + string.digits + "_")  # no encoding changes these
_ENCODED = re.compile(r"(?i)(?:%(?:25){0,4}|\\{1,8}u00|&#x0{0,6})([0-9a-f]{2});?")
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s\"',;}]+")


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the log."""

    at: datetime
    level: str
    event: str
    fields: tuple[tuple[str, str], ...]


class RecentLog:
    """A processor of structlog that keeps what passes; it stands behind the one that redacts."""

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self.count = 0  #: of all lines that ever passed

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keeps an event, and hands it on as it is."""
        fields = tuple(
            (name, _shown(name, value))
            for name, value in event.items()
            if name not in _APART and value is not None
        )
        line = Line(self._now(), str(event.get("level", method)), str(event["event"]), fields)
        with self._lock:
            self._lines.append(line)
            self.count += 1
        return event

    def lines(self) -> list[Line]:
        """The newest first."""
        since = self._now() - KEPT
        with self._lock:
            return [line for line in reversed(self._lines) if line.at >= since]


class Redaction:
    """Masks the secrets it was told of, in every spelling, and whatever follows `Bearer`.

    A server may repeat a secret percent-encoded, as a form, escaped for JSON or HTML, or in base64.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        given = {secret.strip() for secret in secrets if len(secret.strip()) >= SHORTEST}
        forms = given | {form for secret in given for form in _base64_forms(secret)}
        self._secrets = [_spellings(form) for form in sorted(forms, key=len, reverse=True)]
        self._tokens: deque[re.Pattern[str]] = deque(maxlen=16)

    def learn(self, secret: str) -> None:
        """Adds a secret that came later, a token; the last few are enough."""
        pattern = _spellings(secret)
        if pattern not in self._tokens:
            self._tokens.append(pattern)

    def __call__(self, text: str) -> str:
        """The text without them."""
        masked = self._mask(text)
        plain = _ENCODED.sub(_decoded, masked)
        found = self._mask(plain)
        return masked if found == plain else found

    def _mask(self, text: str) -> str:
        for pattern in (*self._secrets, *tuple(self._tokens)):
            text = pattern.sub(MASK, text)
        return _BEARER.sub(rf"\1{MASK}", text)


def _spellings(secret: str) -> re.Pattern[str]:
    """Returns what finds a secret however its special characters are encoded."""
    parts = re.findall(r"\s+|.", secret)
    return re.compile("".join(part if part in _PLAIN else _spelling(part) for part in parts))


def _spelling(part: str) -> str:
    """Returns the pattern of one special character, or of a run of blanks."""
    character = " " if part.isspace() else part
    code, units = ord(character), character.encode("utf-16-be").hex()
    percent = "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in character.encode("utf-8", "replace"))
    escaped = "".join(rf"\\{{1,8}}u{units[at : at + 4]}" for at in range(0, len(units), 4))
    number = f"#0{{0,6}}{code}|#x0{{0,6}}{code:x}"
    entity = f"&(?:amp;){{0,4}}(?:{number}|{_ENTITIES.get(character, number)});"
    forms = [percent, escaped, entity]
    # Each alternative begins otherwise and is bounded, so that no text makes the search slow.
    if part.isspace():
        return rf"(?i:{'|'.join(forms)}|\\{{0,8}}\s|\\{{1,8}}[nrt]|\+|&nbsp;)+"
    forms.append(r"\\{1,16}" if part == "\\" else rf"\\{{0,8}}{re.escape(part)}")
    if part == "+":
        forms.append(" ")  # as a form is decoded
    return f"(?i:{'|'.join(forms)})"


def _base64_forms(secret: str) -> Iterator[str]:
    """Yields the base64 of a secret wherever in a text it stands, as in that of `id:secret`."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode("utf-8", "replace")).decode()
        own = encoded.rstrip("=")[(0, 2, 3)[before] :]  # what is before changes so many of them
        own = own if (before + len(secret.encode("utf-8", "replace"))) % 3 == 0 else own[:-1]
        yield own
        yield own.replace("+", "-").replace("/", "_")


def _decoded(found: re.Match[str]) -> str:
    """Returns a character that needs no encoding; of others the encoding."""
    character = chr(int(found[1], 16))
    return character if character in _PLAIN else found[0]


def configure_log(
    level: str,
    form: str,
    redact: Redaction,
    recent: RecentLog | None = None,
    output: TextIO | None = None,
) -> None:
    """Sends every event to `output` (None: stderr), one a line, in `form` (auto, console, json).

    What is less severe than `level` is left out.

    In `recent`, for the page, events are kept from info on, also where fewer are sent.
    """
    output = output or sys.stderr
    made_from = _LEVELS[level] if recent is None else min(_LEVELS[level], logging.INFO)
    kept: list[Any] = [] if recent is None else [recent, _From(_LEVELS[level])]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            *_timestamps(),
            structlog.processors.format_exc_info,
            _Redacting(redact),
            *kept,
            _renderer(form, output),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(made_from),
        logger_factory=structlog.WriteLoggerFactory(output),
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


def _renderer(form: str, output: TextIO) -> Any:
    if form == "console" or (form == "auto" and output.isatty()):
        return structlog.dev.ConsoleRenderer(colors=output.isatty())
    return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)


def _shown(name: str, value: Any) -> str:
    text = str(value).strip()
    if name == "exception":
        text = text.rpartition("\n")[2]  # the page is no place for a traceback and its paths
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
