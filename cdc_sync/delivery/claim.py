"""What leaves: contracts, and accounts that they wait for, as requests."""

from collections.abc import Sequence

from cdc_sync.contract import body_of
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import GROUP, Job
from cdc_sync.delivery.accounts import NewAccount
from cdc_sync.delivery.answers import Task
from cdc_sync.delivery.pacing import Turn
from cdc_sync.rules.outcome import Claimed


def jobs_of(tasks: Sequence[Task], turns: Sequence[Turn], leave_before: float) -> list[Job[Task]]:
    """A PUT for each task, each with its turn; none leaves after that of the monotonic clock."""
    return [
        Job(task, _request(task), turn.not_before, leave_before, turn.not_after)
        for task, turn in zip(tasks, turns, strict=True)
    ]


def window_after(settled: int, concurrency: int) -> int:
    """How many may be claimed at once after a turn that settled so many.

    By what that was, not a constant: nothing waits long in doubt.
    """
    return min(concurrency + 2 * GROUP, 2 * concurrency + 2 * settled)


def contracts_of(tasks: Sequence[Task]) -> list[Claimed]:
    """Those of the tasks that are contracts."""
    return [task for task in tasks if isinstance(task, Claimed)]


def accounts_of(tasks: Sequence[Task]) -> list[NewAccount]:
    """Those of the tasks that are accounts."""
    return [task for task in tasks if isinstance(task, NewAccount)]


def _request(task: Task) -> Request:
    if isinstance(task, NewAccount):
        return task.request()
    return Request("contracts", body_of(task.reference, task.payload))
