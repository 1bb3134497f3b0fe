"""What a sync would do now; reads both databases, writes neither."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from cdc_sync.capture.page import Capture, changes_of
from cdc_sync.capture.shape import shape_of
from cdc_sync.contract import FieldDiff, Mapped, Status, changed_fields
from cdc_sync.rules.compare import Action, Change
from cdc_sync.source.reader import Page, Scan
from cdc_sync.source.statements import Row
from cdc_sync.state import control, outbox, watermark

EVERYTHING = 2**31  # more contracts than there are


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one contract."""

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
    changes: list[Planned] = field(default_factory=list)
    sends: int = 0

    def document(self) -> dict[str, Any]:
        """`plan --json`, key for key."""
        unchanged = self.rows - sum(
            self.counts[a] for a in (Action.CREATE, Action.UPDATE, Action.INVALID)
        )
        return {
            "rows": self.rows,
            "create": self.counts[Action.CREATE],
            "update": self.counts[Action.UPDATE],
            "unchanged": max(0, unchanged),
            "gone": self.counts[Action.GONE],
            "invalid": self.counts[Action.INVALID],
            "changes": [
                {
                    "source_id": planned.source_id,
                    "reference": planned.reference,
                    "action": planned.action.value,
                    "diff": {name: list(pair) for name, pair in planned.diff.items()},
                    "problem": planned.problem,
                }
                for planned in self.changes
            ],
        }


def plan(capture: Capture, *, full: bool, limit: int | None) -> Plan:
    """What `once` (with `full` a reconcile) would do, with at most `limit` changes in detail.

    Raises SourceUnavailable, SourceMistake and StateUnavailable.
    """
    planned = Plan()
    seen: set[str] = set()
    with capture.state.read() as tx:
        known = watermark.read(tx)
        shape = control.get(tx, control.SHAPE)
        everything = full or known.value is None or shape not in (None, shape_of(capture.config))
        with capture.source.scan() as scan:
            map_row = capture.mapper(scan.zone)
            start = None if everything else known.value
            for page in _pages(scan, start):
                mapped = [map_row(row) for row in page.rows]
                _add_page(planned, tx, capture, mapped, seen, limit)
        _add_due(planned, tx, capture, seen, limit)
    return planned


def _pages(scan: Scan, start: Any) -> Iterator[Page]:
    after: Row | None = None
    while True:
        page = scan.full_page(after) if start is None else scan.changed_page(start, after)
        yield page
        if page.next is None:
            return
        after = page.next


def _add_page(  # what a page meets
    planned: Plan,
    tx: Connection,
    capture: Capture,
    mapped: list[Mapped],
    seen: set[str],
    limit: int | None,
) -> None:
    planned.rows += len(mapped)
    for change in changes_of(tx, mapped, ends_on=capture.ends_on()):
        seen.add(change.source_id)
        if change.action is not Action.UNCHANGED:
            _add(planned, _of_change(change), limit, sends=change.status is Status.PENDING)


def _add_due(
    planned: Plan, tx: Connection, capture: Capture, seen: set[str], limit: int | None
) -> None:
    """What is pending already, or in doubt, and due: a sync would send that, too."""
    for row in outbox.due(tx, capture.now(), EVERYTHING):
        if row.source_id not in seen:
            action = Action.CREATE if row.acknowledged is None else Action.UPDATE
            diff = changed_fields(row.acknowledged, row.payload)
            _add(
                planned,
                Planned(row.source_id, row.reference, action, diff, None),
                limit,
                sends=True,
            )
            planned.rows += 1


def _add(planned: Plan, one: Planned, limit: int | None, *, sends: bool) -> None:
    planned.counts[one.action] += 1
    planned.sends += sends
    if limit is None or len(planned.changes) < limit:
        planned.changes.append(one)


def _of_change(change: Change) -> Planned:
    acknowledged = change.known.acknowledged if change.known else None
    problem = "; ".join(f"{p.field}: {p.message}" for p in change.problems) or None
    diff = {} if problem else changed_fields(acknowledged, change.payload)
    return Planned(change.source_id, change.reference, change.action, diff, problem)
