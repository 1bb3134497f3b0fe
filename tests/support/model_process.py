"""The process of the model: the real parts on the model's clock, which may die at any point."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy import Connection
from structlog.testing import capture_logs

from cdc_sync.config.load import load_config
from cdc_sync.config.model import Config
from cdc_sync.contract import SourceId
from cdc_sync.customergauge.token import TokenKeeper
from cdc_sync.customergauge.token_request import Issued
from cdc_sync.errors import StateUnavailable, TokenUnavailable
from cdc_sync.rules.guard import Held
from cdc_sync.rules.outcome import Claimed
from cdc_sync.source.reader import RowPage, Scan
from cdc_sync.state import outbox, watermark
from cdc_sync.state.database import open_state
from cdc_sync.state.lease import owner_id
from cdc_sync.state.schema import upgrade_tables
from cdc_sync.state.tables import contract
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.model_api import CONCURRENCY, TIMEOUT, CustomerGauge, ModelSender
from tests.support.model_source import DELETED, LOOKBACK, Clock
from tests.support.model_witness import ModelWitness

Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]

STILL = threading.Event()
TOKEN_SECONDS = 600


class Crash(BaseException):
    """The process is killed here; nothing may run after it."""


class _Keeper(TokenKeeper):
    """The real keeper, which asks for a token at once and not in a thread."""

    def renew(self, done: Callable[[], None]) -> None:
        try:
            self.fetch()
            self.failure = None
        except TokenUnavailable as error:
            self.failure = error
        done()


def prepare(folder: Path) -> Config:
    """A configuration, and beside it an empty state that every example starts from."""
    file = write_config(
        folder / "config.yaml",
        "sqlite:///source.db",
        "http://127.0.0.1:1",
        source={"lookback": f"{LOOKBACK.seconds}s", "page_size": 2, "deleted_when": _GONE},
        mapping={"reference": "{code}", "account": "account", "start": "start", "end": "end"},
        guard={"min_contracts": 0},
        customergauge={"concurrency": CONCURRENCY, "timeout": f"{TIMEOUT.seconds}s"},
    )
    config = load_config(file, {})
    state = open_state(f"sqlite:///{folder / 'empty.db'}")
    upgrade_tables(state)
    state.close()
    return config


_GONE = f"plan = '{DELETED}'"


@dataclass
class Process:
    """Opens at the first use; after a crash the next use is a new start."""

    folder: Path
    config: Config
    clock: Clock
    api: CustomerGauge
    witness: ModelWitness
    crash_in: int | None = None  #: at which of the next points it dies
    state_fails_in: int | None = None  #: before or after which of the next commits it is away
    token_refused: bool = False  #: the token endpoint gives none
    between: list[Callable[[], None]] = field(default_factory=list)  #: done after pages are read
    in_turn: bool = False
    moved_by_hand: bool = False  #: since the poll began
    _state_failed: bool = False
    _sync: Sync | None = None
    _tokens: int = 0

    def __post_init__(self) -> None:
        shutil.copyfile(self.folder / "empty.db", self.folder / "state.db")
        self._patches = ExitStack()
        self._opened = ExitStack()
        self._patches.enter_context(capture_logs())
        for name, value in {
            "cdc_sync.sync.utc_now": self.clock.now,
            "cdc_sync.sync.steady_clock": lambda now: now,
            "cdc_sync.delivery.loop.steady_clock": lambda now: now,
            "cdc_sync.sync.TokenKeeper": lambda config, _file, *rest: _Keeper(config, None, *rest),
            "cdc_sync.customergauge.token_request.request_token": self._issue,
            "cdc_sync.delivery.loop.Sender": self._make_sender,
            "cdc_sync.state.outbox._still_ours": _still_ours,
            "cdc_sync.capture.guard.judge_run": lambda *_: Held(),  # it defers, and holds nothing
            "cdc_sync.delivery.loop.time": SimpleNamespace(monotonic=self.clock.monotonic),
            "cdc_sync.source.reader.Scan.changed_page": self._paged(Scan.changed_page),
            "cdc_sync.source.reader.Scan.full_page": self._paged(Scan.full_page),
        }.items():
            self._patches.enter_context(patch(name, value))

    @property
    def sync(self) -> Sync:
        """The parts, opened where they are not."""
        if self._sync is None:
            sync = self._opened.enter_context(open_sync(self.config, redaction_of(self.config)))
            self.witness.restarted()
            self.commit = sync.state.begin
            for state in (sync.state, sync.capture.state):
                vars(state)["begin"] = self._watched(state.begin)
            engine = sync.capture.source.engine
            sa.event.listen(engine, "connect", self._set_clock)
            self._sync = sync
        return self._sync

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._sync is not None

    @contextmanager
    def alive(self) -> Iterator[Sync]:
        """Something that the process does, in which it may die."""
        try:
            yield self.sync
        except Crash:
            self.die()
        except StateUnavailable:
            assert self._state_failed, "the state works"
            self._state_failed = False
            if self.in_turn:
                self.witness.in_doubt(self._claims(not_flying=True))
        finally:
            self.in_turn = False

    def die(self) -> None:
        """As by kill -9: what is committed stays, and nothing else is done."""
        self.crash_in = self.state_fails_in = None
        self.between.clear()
        if self._sync is not None:
            self.witness.died(self._claims())
            self.close()

    def close(self) -> None:
        """Closes files and connections, and records nothing."""
        self._opened.close()
        self._sync = None

    def end(self) -> None:
        """The example is over."""
        self.close()
        self._patches.close()

    def rows(self) -> dict[str, Any]:
        """The contract table as it stands, by source id."""
        with self.sync.state.read() as tx:
            return {row.source_id: row for row in tx.execute(sa.select(contract))}

    def lose_claims(self) -> None:
        """Another daemon takes this one for dead, and ends its claims."""
        with self.commit() as tx:
            outbox.free_claims_of(tx, owner_id(), [], self.clock.now())

    def watermark(self) -> datetime | None:
        """The stored watermark."""
        with self.sync.state.read() as tx:
            return _instant(tx)

    def point(self) -> None:
        """Here the process may die."""
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                raise Crash

    def _watched(self, begin: Begin) -> Begin:
        @contextmanager
        def watched() -> Iterator[Connection]:
            self.point()
            with begin() as tx:
                before = _instant(tx)
                yield tx
                self._expect_watermark(before, _instant(tx))
                self.point()
                self._fail_state()  # nothing is committed
            if self.in_turn:
                self.witness.committed()
            self.point()
            self._fail_state()  # it is committed, and nobody hears of it

        return watched

    def _fail_state(self) -> None:
        if self.state_fails_in is not None:
            self.state_fails_in -= 1
            if self.state_fails_in < 0:
                self.state_fails_in, self._state_failed = None, True
                raise StateUnavailable("The state is away.")

    def _expect_watermark(self, before: datetime | None, after: datetime | None) -> None:
        """Held for everything that the process does by itself: polls and deliveries."""
        if after == before:
            return
        assert not self.moved_by_hand, f"a poll took back a move by hand, to {after}"
        horizon = self.sync.capture.horizon
        assert after is not None
        assert horizon is not None
        assert isinstance(horizon.value, datetime)
        assert after <= horizon.value, f"the watermark {after} is beyond {horizon.value}"
        assert before is None or after >= before, f"a poll took the watermark back to {after}"

    def _claims(self, *, not_flying: bool = False) -> dict[str, datetime]:
        return {
            name: row.in_doubt or self.clock.now()
            for name, row in self.rows().items()
            if row.claimed_by is not None and not (not_flying and name in self.witness.flying)
        }

    def _make_sender(self, _config: object, _redact: object, **calls: Any) -> ModelSender:
        self.sender = ModelSender(
            self.api,
            self.witness,
            self.point,
            token=calls["token"],
            wake=calls["wake"],
        )
        return self.sender

    def _issue(self, _config: object, _now: datetime) -> Issued:
        if self.token_refused:
            raise TokenUnavailable("The token endpoint is away.")
        self._tokens += 1
        return Issued(f"token-{self._tokens}", TOKEN_SECONDS)

    def _paged(self, read: Callable[..., RowPage]) -> Callable[..., RowPage]:
        def paged(scan: Scan, *arguments: Any) -> RowPage:
            self.point()
            page = read(scan, *arguments)
            if self.between:
                self.between.pop(0)()
            return page

        return paged

    def _set_clock(self, connection: Any, _record: object) -> None:
        def strftime(_form: str, _when: str) -> str:
            return self.clock.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

        connection.create_function("strftime", 2, strftime)


def _still_ours(tx: Connection, claims: Sequence[Claimed]) -> set[SourceId]:
    """As where several daemons share a state: another may have ended a claim."""
    query = sa.select(contract.c.source_id).where(contract.c.claimed_by == owner_id())
    return {SourceId(row[0]) for row in tx.execute(query)} & {one.source_id for one in claims}


def _instant(tx: Connection) -> datetime | None:
    value = watermark.read(tx).value
    return value.astimezone(UTC) if isinstance(value, datetime) else None
