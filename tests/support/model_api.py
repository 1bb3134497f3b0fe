"""CustomerGauge as the model has it: what it holds, how it answers, and PUTs without a network."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeAlias

from cdc_sync.customergauge.sender import Job, Sent
from cdc_sync.customergauge.token import Token
from cdc_sync.rules.gate import count_refusals, should_stop_sending
from cdc_sync.rules.outcome import Claimed
from cdc_sync.rules.verdict import Answer, NoAnswer, Reply
from tests.support.model_source import Clock, Fields

CONCURRENCY = 2
TIMEOUT = timedelta(seconds=5)
APPLIED_WITHIN = timedelta(minutes=1)  # a request that was given up is applied by then, or never

ClaimedJob: TypeAlias = Job[Claimed]
ClaimedSent: TypeAlias = Sent[Claimed]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a PUT: its answer (`status` None: there is none), and what is applied."""

    status: int | None
    applied: bool = False
    applied_later: bool = False
    doubt: bool = False  #: we cannot know whether it was applied
    errors: tuple[str, ...] = ()
    retry_after: str | None = None

    @property
    def refuses(self) -> bool:
        """Whether the contract is refused until it changes."""
        return self.status == 413 or (self.status in (400, 422) and self.errors != ("account",))

    def reply(self, *, created: bool) -> Reply:
        """As the client would give it."""
        if self.status is None:
            return NoAnswer("no answer", doubt=self.doubt)
        status = 201 if self.status == 200 and created else self.status
        body = {"message": "No.", "errors": {name: ["No."] for name in self.errors}}
        return Answer(status, self.retry_after, json.dumps(body).encode())


GOOD = Fate(200, applied=True)
LOST = Fate(None, applied_later=True, doubt=True)
FATES: dict[str, Fate] = {
    "400 start": Fate(400, errors=("start",)),
    "422 start": Fate(422, errors=("start", "account")),
    "400 account": Fate(400, errors=("account",)),
    "302": Fate(302),
    "401": Fate(401),
    "403": Fate(403),
    "404": Fate(404),
    "408": Fate(408, doubt=True),
    "408 applied": Fate(408, applied=True, doubt=True),
    "409": Fate(409),
    "413": Fate(413),
    "429": Fate(429),
    "429 for a while": Fate(429, retry_after="30"),
    "429 for long": Fate(429, retry_after="600"),
    "500": Fate(500, doubt=True),
    "500 applied": Fate(500, applied=True, doubt=True),
    "408 applied later": Fate(408, applied_later=True, doubt=True),
    "500 applied later": Fate(500, applied_later=True, doubt=True),
    "503 applied later": Fate(503, applied_later=True, doubt=True),
    "reset before applying": Fate(None, doubt=True),
    "reset after applying": Fate(None, applied=True, doubt=True),
    "time-out after applying": Fate(None, applied=True, doubt=True),
    "time-out before applying": LOST,
    "connection refused": Fate(None),
}


class Witness(Protocol):
    """Who is told what delivery does, and raises AssertionError where it may not."""

    def claimed(self, job: ClaimedJob) -> None:
        """A job is given to the sender."""

    def leaves(self, job: ClaimedJob) -> None:
        """Its PUT leaves."""

    def collected(self, sent: ClaimedSent, fate: Fate | None) -> None:
        """Delivery knows its answer now, but has not recorded it."""


@dataclass
class CustomerGauge:
    """What it holds, by reference; requests that were given up may be applied for a minute."""

    clock: Clock
    held: dict[str, Fields] = field(default_factory=dict)
    puts: int = 0
    later: list[tuple[datetime, bytes]] = field(default_factory=list)

    def take(self, body: bytes, fate: Fate) -> Reply:
        """One PUT and its answer."""
        self.puts += 1
        reply = fate.reply(created=reference_of(body) not in self.held)
        if fate.applied:
            self._apply(body)
        if fate.applied_later:
            self.give_up(body)
        return reply

    def give_up(self, body: bytes) -> None:
        """Nobody waits for this one any more; it is applied some time within a minute."""
        self.later.append((self.clock.now() + APPLIED_WITHIN, body))

    def apply_one_late(self, place: int) -> None:
        """A request that was given up is applied now."""
        if self.later:
            self._apply(self.later.pop(place % len(self.later))[1])

    def apply_what_is_due(self) -> None:
        """After the clock has moved: the minute of these is over."""
        due = [body for at, body in self.later if at <= self.clock.now()]
        self.later = [one for one in self.later if one[0] > self.clock.now()]
        for body in due:
            self._apply(body)

    def _apply(self, body: bytes) -> None:
        document: dict[str, Any] = json.loads(body)
        self.held[document.pop("reference")] = document


def reference_of(body: bytes) -> str:
    """The reference that a PUT names."""
    return str(json.loads(body)["reference"])


class Leaving(NamedTuple):
    """A PUT on its way."""

    job: ClaimedJob
    token: Token
    began: datetime


class ModelSender:
    """The sender without thread and network: a PUT leaves and is answered when the test says so."""

    def __init__(
        self,
        api: CustomerGauge,
        witness: Witness,
        point: Callable[[], None],
        *,
        token: Callable[[], Token | None],
        wake: Callable[[], None],
    ) -> None:
        self._api = api
        self._witness = witness
        self._point = point
        self._token = token
        self._wake = wake
        self.queue: deque[ClaimedJob] = deque()
        self.under_way: list[Leaving] = []
        self._done: list[tuple[ClaimedSent, Fate | None]] = []
        self._refused = 0
        self._shut = 0
        self._known_shut = 0

    def submit(self, jobs: Iterable[ClaimedJob]) -> None:
        """As the real one."""
        batch = list(jobs)
        for job in batch:
            self._witness.claimed(job)
            self.queue.append(job)
        self._point()
        if self._known_shut != self._shut:
            self.take_back()

    def collect(self) -> list[ClaimedSent]:
        """As the real one."""
        self._known_shut = self._shut
        done, self._done = self._done, []
        for sent, fate in done:
            self._witness.collected(sent, fate)
        if done:
            self._point()
        return [sent for sent, _ in done]

    def done(self) -> int:
        """As the real one."""
        return len(self._done)

    def take_back(self) -> None:
        """As the real one."""
        now = self._api.clock.now()
        while self.queue:
            job = self.queue.popleft()
            self._came(Sent(job.task, None, None, job.not_before, now, 0.0, now), None)

    def close(self) -> None:
        """What is on its way is cut: it may still be applied."""
        for left in self.under_way:
            self._api.give_up(left.job.request.body)
        self.under_way.clear()

    def leave(self) -> None:
        """Lets go as many as may be on their way at once."""
        while self.queue and len(self.under_way) < CONCURRENCY:
            self._point()
            token = self._token()
            if token is None:
                self.take_back()
                return
            job = self.queue.popleft()
            self._witness.leaves(job)
            self.under_way.append(Leaving(job, token, self._api.clock.now()))

    def answer(self, place: int, fate: Fate) -> None:
        """One that is on its way meets its fate."""
        job, token, began = self.under_way.pop(place % len(self.under_way))
        reply = self._api.take(job.request.body, fate)
        now = self._api.clock.now()
        seconds = (now - began).total_seconds()
        self._came(Sent(job.task, token, reply, began, now, seconds, now), fate)
        self._refused = count_refusals(self._refused, reply)
        if should_stop_sending(reply, self._refused):
            self._shut += 1
            self.take_back()
        self.leave()

    def next_time_out(self) -> datetime | None:
        """When the deadline of the oldest PUT on its way is over."""
        return self.under_way[0].began + TIMEOUT if self.under_way else None

    def _came(self, sent: ClaimedSent, fate: Fate | None) -> None:
        self._done.append((sent, fate))
        self._wake()
