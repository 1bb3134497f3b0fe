"""The one asyncio loop that PUTs: a thread of its own, asked by batches, answering by a queue.

Whatever shuts the door for everybody (`shuts`) takes back at once what has not left yet.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

import uvloop

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.client import Client, Request
from cdc_sync.customergauge.token import Token
from cdc_sync.redaction import Redaction
from cdc_sync.rules.pace import Pace
from cdc_sync.rules.verdict import NoAnswer, Reply

Task = TypeVar("Task")

GROUP = 64  # answers that are recorded together, at most
LONGEST_WAIT_SECONDS = 5.0  # nothing is asked to leave later than that


@dataclass(frozen=True, slots=True)
class Job(Generic[Task]):
    """One PUT to make, not before an instant; `task` comes back with its answer."""

    task: Task
    request: Request
    token: Token
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Sent(Generic[Task]):
    """What came of a job; `reply` None: it never left."""

    task: Task
    token: Token
    reply: Reply | None
    began: datetime
    ended: datetime
    seconds: float


class Sender(Generic[Task]):
    """Owns the loop. `submit` and `collect` are for one other thread, `wake` is how it is told."""

    def __init__(
        self,
        config: CustomerGaugeConfig,
        redact: Redaction,
        *,
        now: Callable[[], datetime],
        shuts: Callable[[Reply], bool],
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._redact = redact
        self._now = now
        self._shuts = shuts
        self._wake = wake
        self._done: deque[Sent[Task]] = deque()
        self._waiting: set[asyncio.Task[Sent[Task]]] = set()
        self._outstanding = 0
        limit = config.rate_limit
        self._step = Pace(limit.per_second if limit else None).step.total_seconds()
        self._next_at = 0.0
        self._loop = uvloop.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()
        self._ready.wait()

    def submit(self, jobs: Iterable[Job[Task]]) -> None:
        """Starts the jobs, `concurrency` at a time."""
        batch = list(jobs)
        if batch:
            self._loop.call_soon_threadsafe(self._start, batch)

    def collect(self) -> list[Sent[Task]]:
        """What has come back since the last call."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def done(self) -> int:
        """How many answers wait to be collected."""
        return len(self._done)

    def take_back(self) -> None:
        """What has not left yet comes back unsent; what is on its way goes on."""
        self._loop.call_soon_threadsafe(self._cancel_waiting)

    def close(self) -> None:
        """Ends the loop; what is still on its way is cut."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            # A look-up that hangs in the system's resolver must not keep the process.
            self._thread.join(timeout=2)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._open)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def _open(self) -> None:
        self._slots = asyncio.Semaphore(self._config.concurrency)
        self._client = Client(self._config, self._redact)
        self._ready.set()

    def _start(self, batch: list[Job[Task]]) -> None:
        self._outstanding += len(batch)
        for job in batch:
            task = self._loop.create_task(self._do(job))
            self._waiting.add(task)
            task.add_done_callback(partial(self._ended, job))

    def _cancel_waiting(self) -> None:
        for task in list(self._waiting):
            task.cancel()

    async def _do(self, job: Job[Task]) -> Sent[Task]:
        began, started, left = self._now(), self._loop.time(), False
        reply: Reply | None = None
        try:
            async with self._slots:
                await self._its_turn(job)
                self._waiting.discard(asyncio.current_task())
                began, started, left = self._now(), self._loop.time(), True
                reply = await self._client.put(job.request, job.token)
                if self._shuts(reply):  # before the slot is free for the next one
                    self._cancel_waiting()
        except asyncio.CancelledError:
            reply = NoAnswer("cut by our stop", doubt=True) if left else None
        except Exception as error:  # noqa: BLE001  # a request cannot die silently
            reply = NoAnswer(f"our own defect: {error!r}", doubt=True)
        seconds = self._loop.time() - started
        return Sent(job.task, job.token, reply, began, self._now(), seconds)

    async def _its_turn(self, job: Job[Task]) -> None:
        # Behind the one before by the limit's step, too: a loop that woke late must not catch up.
        # Later than any wait there is: our clock was set back.
        while 0 < (early := self._too_early(job)) < LONGEST_WAIT_SECONDS:  # noqa: ASYNC110
            await asyncio.sleep(early)
        self._next_at = self._loop.time() + self._step

    def _too_early(self, job: Job[Task]) -> float:
        planned = (job.not_before - self._now()).total_seconds()
        return max(planned, self._next_at - self._loop.time())

    def _ended(self, job: Job[Task], task: "asyncio.Task[Sent[Task]]") -> None:
        self._waiting.discard(task)
        if task.cancelled():  # before its first step: nothing of it ran
            now = self._now()
            self._finish(Sent(job.task, job.token, None, now, now, 0.0))
        else:
            self._finish(task.result())

    def _finish(self, sent: Sent[Task]) -> None:
        self._outstanding -= 1
        self._done.append(sent)
        # The first answer wakes, and then a full group or the last one: not each.
        if len(self._done) in (1, GROUP) or self._outstanding == 0:
            self._wake()
