"""Plans what a sync would do now; reads both databases, writes neither."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection

from cdc_sync.capture.page import (
    POLL_RANK,
    Capture,
    compare_absent,
    compare_page,
    each_page,
    is_full_scan_due,
)
from cdc_sync.capture.sweep import read_bounds
from cdc_sync.contract import FieldDiff, Status, WatermarkValue, changed_fields
from cdc_sync.rules.compare import Action, Change
from cdc_sync.rules.guard import Effect, Held, Tally, effect_of, judge
from cdc_sync.rules.watermark import Watermark, is_before
from cdc_sync.source.reader import RowPage, Scan
from cdc_sync.source.statements import Row
from cdc_sync.state import contracts, control, outbox, watermark
from cdc_sync.state.contracts import open_seen_ids
from cdc_sync.state.values import Fingerprint
from cdc_sync.wording import format_problems

EVERYTHING = 2**31  # more contracts than there are


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a sync would do with one contract, with the keys of `plan --json`."""

    source_id: str
    reference: str | None
    action: Action
    diff: FieldDiff
    problem: str | None


@dataclass(slots=True)
class Plan:
    """The counts of all, and the first changes of them."""

    rows: int = 0
    counts: Counter[Action] = field(default_factory=Counter)
    changes: list[PlannedChange] = field(default_factory=list)
    sends: int = 0  #: how many PUTs
    held: int = 0  #: how many of the changes the guard would hold
    later: int = 0  #: how many others are pending, and wait for their next try
    rejected: int = 0  #: how many of the unchanged rows are rejected, as before
    departed: int = 0  #: how many of the rows count as gone

    def document(self) -> dict[str, Any]:
        """Returns `plan --json`, key for key."""
        changed = sum(self.counts[a] for a in (Action.CREATE, Action.UPDATE, Action.INVALID))
        unchanged = self.rows - changed - self.departed
        return {
            "rows": self.rows,
            "create": self.counts[Action.CREATE],
            "update": self.counts[Action.UPDATE],
            "unchanged": max(0, unchanged),
            "gone": self.counts[Action.GONE],
            "invalid": self.counts[Action.INVALID],
            "held": self.held,
            "changes": [asdict(planned) for planned in self.changes],
        }


def plan(capture: Capture, *, full: bool, limit: int | None) -> Plan:
    """Plans what `once` (with `full` a reconcile) would do, with at most `limit` changes in detail.

    Raises SourceUnavailable, SourceMistake and StateUnavailable.
    """
    with capture.state.read() as tx, capture.source.scan() as scan:
        builder = _PlanBuilder(capture, tx, scan, limit)
        known = watermark.read(tx)
        everything = full or is_full_scan_due(capture, tx)
        if everything and any(contracts.count_by_status(tx).values()):
            builder.read_everything()
        else:
            builder.read_from(None if everything else known.value)
            if not everything:
                builder.judge()
                builder.read_late(known)
        builder.judge()
        builder.add_due()
        builder.count_later()
        return builder.plan


class _PlanBuilder:
    """Adds page after page to a plan."""

    def __init__(self, capture: Capture, tx: Connection, scan: Scan, limit: int | None) -> None:
        self._capture = capture
        self._tx = tx
        self._scan = scan
        self._limit = limit
        self._map = capture.mapper(scan.zone)
        self._ends_on = capture.ends_on()
        self.plan = Plan()
        self._seen: set[str] = set()  # what has changed
        self._judged_anew = 0  # rejected contracts that have changed
        self._is_empty = False  # a full scan found no row at all
        self._met: set[str] | None = set()  # what a poll would read; None: everything
        self._effects: Counter[Effect | None] = Counter()
        self._sends: Counter[Effect | None] = Counter()

    def read_from(self, start: WatermarkValue | None) -> None:
        """Compares what a poll would read; with None everything."""
        if start is None:
            self._met = None
            self._each_page(self._scan.full_page, self._add_page)
        else:
            self._each_page(partial(self._scan.changed_page, start), self._add_page)

    def read_late(self, known: Watermark) -> None:
        """Adds what the sweep of the next `once` would find that polls have passed."""
        windows = self._capture.config.source.sweeps
        bounds = windows and read_bounds(self._capture, self._scan, known, windows[0], save=False)
        if not bounds:
            return
        self._is_done = False

        def add(page: RowPage) -> None:
            rows = [self._map(row) for row in page.rows]
            changes = compare_page(self._tx, rows, ends_on=self._ends_on)
            late = [change for change in changes if change.source_id not in self._seen]
            self.plan.rows += len(late)
            self._add(late)
            self._is_done = page.end is None or not is_before(page.end, bounds.end)

        read = partial(self._scan.changed_page, bounds.start)
        each_page(self._capture.page_lock.turn(POLL_RANK), read, add, lambda: self._is_done)

    def read_everything(self) -> None:
        """Compares what a reconcile would read, and what it would find gone."""
        self._met = None
        self._is_empty = True
        with open_seen_ids(self._capture.state) as seen_ids:

            def add(page: RowPage) -> None:
                self._add_page(page)
                self._is_empty = self._is_empty and not page.rows
                seen_ids.add(row.source_id for row in page.rows)

            self._each_page(self._scan.full_page, add)
            for missing in seen_ids.missing(self._capture.config.source.page_size):
                ids = [row.source_id for row in missing]
                absent = set(ids) - {row.source_id for row in self._scan.existing(ids)}
                if absent:
                    self._scan.expect_found_by_id()
                self._add(compare_absent(self._tx, sorted(absent), ends_on=self._ends_on))

    def add_due(self) -> None:
        """Adds what is due already, as pending or in doubt: a sync would send that, too."""
        for row in outbox.list_due(self._tx, self._capture.now(), EVERYTHING):
            if row.source_id not in self._seen:
                action = Action.CREATE if row.acknowledged is None else Action.UPDATE
                diff = changed_fields(row.acknowledged, row.payload)
                planned = PlannedChange(row.source_id, row.reference, action, diff, None)
                self.plan.rows += self._met is not None and row.source_id not in self._met
                self.plan.sends += 1
                self._show(planned)

    def count_later(self) -> None:
        """Counts what is pending and not due yet, and what stays rejected."""
        rejected = contracts.count_with_status(self._tx, Status.REJECTED)
        self.plan.rejected = max(0, rejected - self._judged_anew)
        later = outbox.list_postponed(self._tx, self._capture.now())
        self.plan.later = sum(source_id not in self._seen for source_id in later)

    def judge(self) -> None:
        """Adds what the guard would hold of one run, and what that would send."""
        tally = Tally(*(self._effects[effect] for effect in Effect))
        is_first = control.load(self._tx, Fingerprint) is None
        known = 0 if is_first else contracts.count_known(self._tx)
        held = judge(self._capture.config.guard, tally, known)
        if self._is_empty and self.plan.counts[Action.GONE]:
            held = Held(changes=True)  # such a source is held whatever the share
        self.plan.held += sum(n for effect, n in self._effects.items() if effect in held)
        self.plan.sends += sum(n for effect, n in self._sends.items() if effect not in held)
        self._effects.clear()
        self._sends.clear()

    def _each_page(
        self, read: Callable[[Row | None], RowPage], add: Callable[[RowPage], None]
    ) -> None:
        each_page(self._capture.page_lock.turn(POLL_RANK), read, add, lambda: False)

    def _add_page(self, page: RowPage) -> None:
        rows = [self._map(row) for row in page.rows]
        changes = compare_page(self._tx, rows, ends_on=self._ends_on)
        self.plan.rows += len(rows)
        self.plan.departed += sum(change.action is Action.GONE for change in changes)
        if self._met is not None:
            self._met.update(row.source_id for row in page.rows)
        self._add(changes)

    def _add(self, changes: list[Change]) -> None:
        for change in changes:
            self._seen.add(change.source_id)
            if change.action is not Action.UNCHANGED:
                effect = effect_of(change)
                self._effects[effect] += 1
                self._sends[effect] += change.status is Status.PENDING
                self._judged_anew += _was_rejected(change)
                self._show(_of_change(change))

    def _show(self, one: PlannedChange) -> None:
        self.plan.counts[one.action] += 1
        if self._limit is None or len(self.plan.changes) < self._limit:
            self.plan.changes.append(one)


def _was_rejected(change: Change) -> bool:
    return change.known is not None and change.known.status is Status.REJECTED


def _of_change(change: Change) -> PlannedChange:
    acknowledged = change.known.acknowledged if change.known else None
    problem = format_problems(change.problems) or None
    never_sent = change.action is Action.GONE and acknowledged is None
    diff = {} if problem or never_sent else changed_fields(acknowledged, change.payload)
    return PlannedChange(change.source_id, change.reference, change.action, diff, problem)
