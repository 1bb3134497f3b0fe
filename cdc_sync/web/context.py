"""What the page shows and acts on, held together; a snapshot of the status for all viewers."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cdc_sync.config.model import Config
from cdc_sync.errors import SourceUnavailable
from cdc_sync.log import RecentLog
from cdc_sync.measures import Measures
from cdc_sync.operations.status import POLLS_MISSED, read_status, sentence
from cdc_sync.state.database import Database

FRESH_SECONDS = 0.9
FRESH_AT_MOST = 1.8  # `status` is never more than 2 s behind, also where counting takes long
SHARE_OF_TIME = 0.02  # of one core, that goes into counting a large state for the page
RECENT_SECONDS = 5.0  # the daemon takes one at least so often, for its own line in systemd
ANSWERS_WITHIN = 5.0  # seconds that a person is left waiting
AT_A_TIME = 2  # questions on their way: each is a connection to the source
T = TypeVar("T")
SHORTEST_PATIENCE = timedelta(seconds=5)
DELIVERY_TURNS_WITHIN = 60.0  # seconds; while the state is away it looks every 15


class Snapshots:
    """The status document, read once for everybody who looks within a second."""

    def __init__(self, state: Database, now: Callable[[], datetime]) -> None:
        self._state = state
        self._now = now
        self._lock = threading.Lock()
        self._taken_at: float | None = None
        self._cost = 0.0
        self._document: dict[str, Any] = {}

    def latest(self) -> dict[str, Any]:
        """`status --json` and what else `read_status` knows. Raises StateUnavailable."""
        fresh = max(FRESH_SECONDS, min(FRESH_AT_MOST, self._cost / SHARE_OF_TIME))
        return self._younger_than(fresh)

    def recent(self) -> dict[str, Any]:
        """One that is at hand, for a page that follows at once what is newer."""
        return self._younger_than(RECENT_SECONDS)

    def taken(self) -> dict[str, Any]:
        """One of now."""
        return self._younger_than(0.0)

    def expire(self) -> None:
        """Somebody has just acted: the next look is a fresh one."""
        with self._lock:
            self._taken_at = None

    def _younger_than(self, seconds: float) -> dict[str, Any]:
        with self._lock:
            began = time.monotonic()
            if self._taken_at is None or began - self._taken_at >= seconds:
                self._document = read_status(self._state, self._now())
                self._taken_at, self._cost = began, time.monotonic() - began
            return self._document


class Asking:
    """Asks in threads of its own: a few at once, and none is waited for longer than a while."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(AT_A_TIME)

    def ask(self, question: Callable[[], T]) -> T:
        """Its answer. Raises what it raises, and SourceUnavailable where none comes in time."""
        if not self._free.acquire(blocking=False):
            raise SourceUnavailable("The source has not answered what it was asked before.")
        answer: Future[T] = Future()
        # Not the interpreter's own pool: that one waits at the end for what hangs.
        threading.Thread(target=self._wait, args=(question, answer), daemon=True).start()
        try:
            return answer.result(ANSWERS_WITHIN)
        except TimeoutError:
            says = f"The source does not answer within {ANSWERS_WITHIN:g} s."
            raise SourceUnavailable(says) from None

    def _wait(self, question: Callable[[], T], answer: Future[T]) -> None:
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 (it is raised where it was asked)
            answer.set_exception(error)
        finally:
            self._free.release()


@dataclass(frozen=True, slots=True)
class Vitals:
    """Signs of life: when a poll last ended well, and how long delivery has not come round.

    `captures` is False where another instance polls, and this one only delivers.
    """

    good_poll_at: datetime
    poll_error: str | None
    delivery_quiet: float
    captures: bool = True


@dataclass(slots=True)
class Desk:
    """A running sync, as the page needs it; a reload gives it another `config`."""

    config: Config
    state: Database
    measures: Measures
    recent: RecentLog
    vitals: Callable[[], Vitals]
    wake: Callable[[], None]  #: something may be due now
    now: Callable[[], datetime]
    sandbox_url: str | None = None  #: the stand-in's own page, beside the demo's
    asking: Asking = field(default_factory=Asking)
    snapshots: Snapshots = field(init=False)
    acts: int = 0  #: how often a person acted: what was rendered before is old
    began: datetime = field(init=False)  #: what is measured is measured since then

    def __post_init__(self) -> None:
        self.began = self.now()
        self.snapshots = Snapshots(self.state, self.now)

    def acted(self) -> None:
        """A person's action is in the state: delivery heeds it at once, and so does the page."""
        self.snapshots.expire()
        self.acts += 1
        self.wake()


def unwell(vitals: Vitals, poll_interval: timedelta, now: datetime) -> str | None:
    """Why the daemon does not do its work; None where it does."""
    age = now - vitals.good_poll_at
    if vitals.captures and age > max(POLLS_MISSED * poll_interval, SHORTEST_PATIENCE):
        why = f" {sentence(vitals.poll_error)}" if vitals.poll_error else ""
        return f"No poll has ended well for {age.total_seconds():.0f} s.{why}"
    if vitals.delivery_quiet > DELIVERY_TURNS_WITHIN:
        return f"Delivery has not come round for {vitals.delivery_quiet:.0f} s."
    return None
