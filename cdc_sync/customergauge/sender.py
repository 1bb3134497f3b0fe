"""The one asyncio loop that PUTs: a thread of its own, asked by batches, answering by a queue.

An answer after which all sending stops gives back at once what has not left yet, and what was
submitted by somebody who had not collected that answer.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from math import ceil
from typing import Generic, NamedTuple, TypeVar

import uvloop

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.client import Client, Departure, Request, Window
from cdc_sync.customergauge.token import Token
from cdc_sync.log import Redaction
from cdc_sync.rules.gate import count_refusals, should_stop_sending
from cdc_sync.rules.verdict import NoAnswer, Reply

Task = TypeVar("Task")

GROUP = 256  # answers that are recorded together, at most
CATCH_UP_SECONDS = 0.015  # a PUT that is no later than this makes the next one no later
SLACK_SECONDS = 0.003  # of our own clock and loop
LONGEST_WAIT_SECONDS = 5.0  # nothing is asked to leave later than that


class Job(NamedTuple, Generic[Task]):
    """One PUT to make, between two instants; `task` comes back with its answer.

    `leave_before` is by the monotonic clock: what has slept for longer does not leave any more.
    `not_after`: where others share the rate, a turn that was missed is over.
    """

    task: Task
    request: Request
    not_before: datetime
    leave_before: float = float("inf")
    not_after: datetime | None = None


class Sent(NamedTuple, Generic[Task]):
    """Result of a job. `reply` is None if it was never sent; `began` is then its scheduled time.

    `doubted_at` is its end by the clock of doubts.
    """

    task: Task
    token: Token | None
    reply: Reply | None
    began: datetime
    ended: datetime
    seconds: float
    doubted_at: datetime


class _Leaving(NamedTuple, Generic[Task]):
    """A job on its way, with the token it takes along."""

    job: Job[Task]
    token: Token
    departure: Departure


class Sender(Generic[Task]):
    """Owns the loop. `submit` and `collect` are for one other thread, `wake` is how it is told.

    Raises UserMistake for a proxy or a file that cannot be used.
    """

    def __init__(  # noqa: PLR0913  # one argument a thing that it asks for
        self,
        config: CustomerGaugeConfig,
        redact: Redaction,
        *,
        now: Callable[[], datetime],
        doubt_now: Callable[[], datetime],
        token: Callable[[], Token | None],
        step_seconds: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._now = now
        self._doubt_now = doubt_now
        self._token = token  # asked when a PUT leaves: one claimed ahead may outlive its token
        self._step_seconds = step_seconds  # the least time between two PUTs
        self._wake = wake
        self._next_leave = 0.0
        self._window = Window(time.monotonic)
        self._queue: deque[Job[Task]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._done: deque[Sent[Task]] = deque()
        self._refused = 0  # in a row
        self._stops = 0  # how often sending stopped, and
        self._known_stops = 0  # how often when answers were last collected
        self._client = Client(config, redact)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def submit(self, jobs: Iterable[Job[Task]]) -> None:
        """Starts the jobs in their order, `concurrency` at a time."""
        batch = list(jobs)
        if batch:
            self._loop.call_soon_threadsafe(self._take, batch, self._known_stops)

    def collect(self) -> list[Sent[Task]]:
        """What has come back since the last call."""
        self._known_stops = self._stops
        return [self._done.popleft() for _ in range(len(self._done))]

    def done(self) -> int:
        """How many answers wait to be collected."""
        return len(self._done)

    def take_back(self) -> None:
        """What has not left yet comes back unsent; what is on its way goes on."""
        self._loop.call_soon_threadsafe(self._give_back)

    def close(self) -> None:
        """Ends the loop; what is still on its way is cut."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            # A look-up that hangs in the system's resolver must not keep the process.
            self._thread.join(timeout=2)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._queue.clear()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def _take(self, batch: list[Job[Task]], known_stops: int) -> None:
        self._queue.extend(batch)
        if known_stops == self._stops:
            self._leave()
        else:
            self._give_back()

    def _leave(self) -> None:
        """Lets go what may leave now, and comes back when the next one may."""
        while len(self._under_way) < self._config.concurrency:
            leaving = self._next()
            if leaving is None:
                return
            task = self._loop.create_task(self._put_all(leaving))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _next(self) -> "_Leaving[Task] | None":
        """The next job that leaves now; None where there is none, or none may."""
        while self._queue:
            early = self._early(self._queue[0])
            if early > 0:
                self._alarm = self._alarm or self._loop.call_later(early, self._ring)
                return None
            token = self._token()
            if token is None:
                self._give_back()
                return None
            job = self._queue.popleft()
            if self._is_over(job):
                self._unsent(job)
                continue
            # After a stall what is overdue leaves at the pace, too, not at once; but what our own
            # clock rounds up, or a busy machine delays a little, is not lost.
            now = time.monotonic()
            is_stalled = now - self._next_leave > CATCH_UP_SECONDS
            self._next_leave = (now if is_stalled else self._next_leave) + self._step_seconds()
            return _Leaving(job, token, self._window.start())
        return None

    def _ring(self) -> None:
        self._alarm = None
        self._leave()

    def _early(self, job: Job[Task]) -> float:
        """For how many seconds a job must not leave yet."""
        step = self._step_seconds()
        if not step:
            return 0.0
        asked = (job.not_before - self._now()).total_seconds()
        if asked > LONGEST_WAIT_SECONDS:
            asked = 0.0  # our clock was set back
        # As many steps as it takes to fill a second.
        most = ceil(1 / step)
        full = self._window.full_for(most, most * step - SLACK_SECONDS)
        return max(asked, full, self._next_leave - time.monotonic())

    def _is_over(self, job: Job[Task]) -> bool:
        if time.monotonic() > job.leave_before:
            return True
        return job.not_after is not None and self._now() > job.not_after

    def _give_back(self) -> None:
        while self._queue:
            self._unsent(self._queue.popleft())

    def _unsent(self, job: Job[Task]) -> None:
        unsent = Sent(job.task, None, None, job.not_before, self._now(), 0.0, self._doubt_now())
        self._came(unsent)

    async def _put_all(self, leaving: "_Leaving[Task] | None") -> None:
        """One after the other, as long as the next one may leave at once."""
        while leaving is not None:
            await self._put(*leaving)
            leaving = self._next()

    async def _put(self, job: Job[Task], token: Token, departure: Departure) -> None:
        began, started = self._now(), time.monotonic()
        try:
            reply = await self._client.put(job.request, token, departure)
        except Exception as error:  # noqa: BLE001  # a request cannot die silently
            reply = NoAnswer(f"our own defect: {error!r}", doubt=True)
        departure.is_over()
        seconds = time.monotonic() - started
        now, doubt_now = self._now(), self._doubt_now()
        self._came(Sent(job.task, token, reply, began, now, seconds, doubt_now))
        self._refused = count_refusals(self._refused, reply)
        if should_stop_sending(reply, self._refused):
            self._stops += 1  # only now that its answer can be collected
            self._give_back()

    def _came(self, sent: Sent[Task]) -> None:
        self._done.append(sent)
        # The first answer wakes, and then a full group or the last one: not each.
        if len(self._done) in (1, GROUP):
            self._wake()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._leave()
        if not self._under_way:
            self._wake()
