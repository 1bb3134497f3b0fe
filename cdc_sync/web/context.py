"""The parts of a running sync that its page needs, and a request to the page with them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from starlette.requests import Request

from cdc_sync.config.model import Config
from cdc_sync.config.units import Rate
from cdc_sync.errors import SourceUnavailable
from cdc_sync.log import RecentLog
from cdc_sync.measures import Measures
from cdc_sync.operations.status import POLLS_MISSED, end_sentence, read_status
from cdc_sync.state.control import cookie_key
from cdc_sync.state.database import Database
from cdc_sync.web.access import Form, Secret, Visitor

FRESH_SECONDS = 0.9
FRESH_AT_MOST = 1.8  # `status` is never more than 2 s behind, also where counting takes long
SHARE_OF_TIME = 0.02  # of one core, that goes into counting a large state for the page
RECENT_SECONDS = 5.0  # the daemon takes one at least so often, for its own line in systemd
ANSWERS_WITHIN = 5.0  # seconds that a person is left waiting
AT_A_TIME = 2  # queries of the source: each is a connection
SHORTEST_PATIENCE = timedelta(seconds=5)
DELIVERY_PROGRESSES_WITHIN = 60.0  # seconds; while the state is away it tries every 15
T = TypeVar("T")


class Snapshots:
    """Status documents, each read once for everybody who looks within a second."""

    def __init__(
        self, state: Database, now: Callable[[], datetime], limit: Rate | None = None
    ) -> None:
        self._state = state
        self._now = now
        self._limit = limit
        self._lock = threading.Lock()
        self._taken_at: float | None = None
        self._cost = 0.0
        self._document: dict[str, Any] = {}

    def latest(self) -> dict[str, Any]:
        """Returns the status, as fresh as it is cheap to read. Raises StateUnavailable."""
        fresh = max(FRESH_SECONDS, min(FRESH_AT_MOST, self._cost / SHARE_OF_TIME))
        return self._younger_than(fresh)

    def recent(self) -> dict[str, Any]:
        """Returns a status of the last seconds, for a page that will be updated at once."""
        return self._younger_than(RECENT_SECONDS)

    def refresh(self) -> dict[str, Any]:
        """Reads the status anew and returns it."""
        return self._younger_than(0.0)

    def expire(self) -> None:
        """Has the next caller read the status anew: somebody has just acted."""
        with self._lock:
            self._taken_at = None

    def _younger_than(self, seconds: float) -> dict[str, Any]:
        with self._lock:
            began = time.monotonic()
            if self._taken_at is None or began - self._taken_at >= seconds:
                self._document = read_status(self._state, self._now(), self._limit)
                self._taken_at, self._cost = began, time.monotonic() - began
            return self._document


class SourceQueries:
    """Runs queries of the source for a page: few at once, and each for a few seconds at most."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_A_TIME)

    def run(self, query: Callable[[], T]) -> T:
        """Returns or raises what the query does; SourceUnavailable where it takes too long."""
        if not self._free.acquire(blocking=False):
            raise SourceUnavailable("The source has not answered what it was asked before.")
        answer: Future[T] = Future()
        # Not the interpreter's own pool: that one waits at the end for what hangs.
        threading.Thread(target=self._run, args=(query, answer), name="query", daemon=True).start()
        try:
            return answer.result(ANSWERS_WITHIN)
        except TimeoutError:
            raise SourceUnavailable(
                f"The source does not answer within {ANSWERS_WITHIN:g} s."
            ) from None

    def _run(self, query: Callable[[], T], answer: Future[T]) -> None:
        try:
            answer.set_result(query())
        except BaseException as error:  # noqa: BLE001 (it is raised where it was asked)
            answer.set_exception(error)
        finally:
            self._free.release()


@dataclass(frozen=True, slots=True)
class Health:
    """When a poll last ended well, and how long ago delivery last made progress.

    `is_capturing` is False where another instance polls, and this one only delivers.
    """

    good_poll_at: datetime
    poll_error: str | None
    delivery_silent_seconds: float
    is_capturing: bool = True


def unhealthy_reason(health: Health, poll_interval: timedelta, now: datetime) -> str | None:
    """Returns why the daemon does not do its work; None where it does."""
    age = now - health.good_poll_at
    if health.is_capturing and age > max(POLLS_MISSED * poll_interval, SHORTEST_PATIENCE):
        why = f" {end_sentence(health.poll_error)}" if health.poll_error else ""
        return f"No poll has ended well for {age.total_seconds():.0f} s.{why}"
    if health.delivery_silent_seconds > DELIVERY_PROGRESSES_WITHIN:
        return f"Delivery has made no progress for {health.delivery_silent_seconds:.0f} s."
    return None


@dataclass(slots=True)
class PageContext:
    """A running sync, as its page needs it; a reload gives it another `config`."""

    config: Config
    state: Database
    measures: Measures
    recent: RecentLog
    health: Callable[[], Health]
    wake: Callable[[], None]  #: has delivery see what is due now
    now: Callable[[], datetime]
    sandbox_url: str | None = None  #: the sandbox's own page, in the demo
    source_queries: SourceQueries = field(default_factory=SourceQueries)
    snapshots: Snapshots = field(init=False)
    secret: Secret = field(init=False)  #: what a visitor must know to act
    actions: int = 0  #: how often a person acted: what was rendered before is old
    began: datetime = field(init=False)  #: since when `measures` measures

    def __post_init__(self) -> None:
        self.began = self.now()
        limit = self.config.customergauge.rate_limit
        self.snapshots = Snapshots(self.state, self.now, limit)
        token = self.config.web.token
        self.secret = Secret(None)
        if token is not None:
            self.secret = Secret(token.get_secret_value(), cookie_key(self.state))

    def acted(self) -> None:
        """Wakes delivery and outdates what was rendered: a person's action is in the state."""
        self.snapshots.expire()
        self.actions += 1
        self.wake()


@dataclass(frozen=True, slots=True)
class PageRequest:
    """An HTTP request to the page of a running sync; `form` has the fields of a POST."""

    context: PageContext
    http: Request
    form: Form

    @property
    def state(self) -> Database:
        """The state of the running sync."""
        return self.context.state

    @property
    def query(self) -> Form:
        """The parameters of the URL."""
        return self.http.query_params

    @property
    def visitor(self) -> Visitor:
        """Who asks, as the AccessMiddleware has found."""
        visitor: Visitor = self.http.state.visitor
        return visitor
