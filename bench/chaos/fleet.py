"""Several daemons over one state in PostgreSQL: killed, frozen, and with a state that crashes."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.chaos.daemon import ChaosDaemon
from bench.chaos.judge import Kill
from bench.chaos.state import ServerState, State, claimed, poll_began
from tests.support.wait import wait_until

TIMEOUT_SECONDS = 3.0  # customergauge.timeout of several daemons
LEASE_SECONDS = 3 * TIMEOUT_SECONDS
RATE = 40  # PUTs a second, all together
BEYOND = (0.5, 3.0)  # seconds for which a frozen daemon sleeps longer than its lease
EVERY = 8  # kills between two freezes, and between two crashes of the state's server
FIRST_FREEZE, FIRST_CRASH = 1, 3  # after so many kills; the instant is that of the kill after it
ACTIVE = 0.5  # how often the one that captures is meant
UNSURE_FOR = 5.0  # seconds in which commits of which nobody knows whether they were are repeated
UNOPENED = 1  # the exit code of a daemon that cannot open its state
TAKEN_OVER_WITHIN = 30.0
SHOWN_WITHIN = 30.0


class Fleet:
    """One daemon on a file, or several on a server."""

    def __init__(self, daemons: Sequence[ChaosDaemon], state: State, chance: random.Random) -> None:
        self._daemons = list(daemons)
        self._state = state
        self._chance = chance
        self.events: list[Kill] = []  #: kills, freezes and crashes of the state
        self.restarts = 0
        self.take_overs: list[float] = []  #: seconds from a kill to the next poll of another

    @property
    def kinds(self) -> Counter[str]:
        return Counter(event.kind for event in self.events)

    def start(self) -> None:
        for daemon in self._daemons:
            daemon.start()

    def died(self) -> list[int]:
        """The exit codes of those that ended by themselves.

        One that found no state at its start is started again, as systemd does it.
        """
        for daemon in self._daemons:
            if daemon.died() == UNOPENED and self._met_a_crash(daemon):
                self.restarts += 1
                daemon.start()
        return [code for daemon in self._daemons if (code := daemon.died()) is not None]

    def strike(self) -> None:
        """One kill, and a new start; and what befalls several now and then."""
        if isinstance(self._state, ServerState):
            self._wake(time.monotonic())
            turn = self.kinds["kill"] % EVERY
            if turn == FIRST_CRASH:
                self._crash(self._state)
            if turn == FIRST_FREEZE:
                self._freeze()
        awake = [daemon for daemon in self._daemons if not daemon.is_frozen]
        victim, captured = self._pick(awake)
        at = datetime.now(UTC)
        self.events.append(victim.kill())
        if captured and len(awake) > 1 and self._chance.random() < 0.5:
            self._measure(at)
        victim.start()

    def rest(self) -> None:
        """Wakes those that are frozen, when it is time."""
        for daemon in self._daemons:
            if daemon.is_frozen:
                time.sleep(max(0.0, daemon.wakes_at - time.monotonic()))
        self._wake(time.monotonic())

    def stop(self) -> list[int]:
        """Stops all; the exit codes that are not 0."""
        return [code for daemon in self._daemons if (code := daemon.stop())]

    def unshown(self) -> list[str]:
        """What `status` shows of the daemons, where that is not what there is."""
        if not isinstance(self._state, ServerState):
            return []
        right = ["active", *["standby"] * (len(self._daemons) - 1)]
        # The one that was started last may not have told of itself yet.
        until = time.monotonic() + SHOWN_WITHIN
        while (roles := sorted(self._state.roles())) != right and time.monotonic() < until:
            time.sleep(0.1)
        return [] if roles == right else [f"status shows {roles}"]

    def left_claimed(self) -> list[str]:
        """What stopped daemons have not given back."""
        return sorted(claimed(self._state))

    def _met_a_crash(self, daemon: ChaosDaemon) -> bool:
        crashes = [event for event in self.events if event.kind == "state_crash"]
        return not daemon.was_ready and any(daemon.started_at < one.over for one in crashes)

    def _wake(self, now: float) -> None:
        frozen = [daemon for daemon in self._daemons if daemon.is_frozen]
        self.events += [daemon.wake() for daemon in frozen if daemon.wakes_at <= now]

    def _crash(self, state: ServerState) -> None:
        at, before = time.monotonic(), claimed(state)
        state.crash()
        over = time.monotonic() + UNSURE_FOR
        self.events.append(Kill(at, over, before | claimed(state), "state_crash"))

    def _freeze(self) -> None:
        if any(daemon.is_frozen for daemon in self._daemons):
            return
        daemon, _ = self._pick(self._daemons)
        daemon.freeze(LEASE_SECONDS + self._chance.uniform(*BEYOND))

    def _pick(self, among: Sequence[ChaosDaemon]) -> tuple[ChaosDaemon, bool]:
        """One of them, often the one that captures; whether it is that."""
        picked = self._chance.choice(among)
        if isinstance(self._state, ServerState):
            active = self._state.active()
            captures = [daemon for daemon in among if daemon.pid == active]
            if captures and self._chance.random() < ACTIVE:
                picked = captures[0]
            return picked, picked in captures
        return picked, False

    def _measure(self, since: datetime) -> None:
        def polled() -> bool:
            self.died()
            began = poll_began(self._state)
            return began is not None and began > since

        wait_until(polled, "another takes over", TAKEN_OVER_WITHIN)
        began = poll_began(self._state)
        if began is not None:
            self.take_overs.append((began - since).total_seconds())
