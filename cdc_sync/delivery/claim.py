"""What leaves: contracts, and accounts that they wait for, as requests."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cdc_sync.contract import body_of
from cdc_sync.customergauge.client import Request
from cdc_sync.customergauge.sender import Job
from cdc_sync.delivery.accounts import NewAccount
from cdc_sync.delivery.answers import Task
from cdc_sync.rules.outcome import Claimed


def jobs_of(
    tasks: Sequence[Task], starts: Sequence[datetime], leave_before: float, late: timedelta | None
) -> list[Job[Task]]:
    """A PUT for each task, each with its instant; none leaves after that of the monotonic clock.

    `late`: so long after its instant it may still leave; None: at any time.
    """
    return [
        Job(task, _request(task), start, leave_before, start + late if late is not None else None)
        for task, start in zip(tasks, starts, strict=True)
    ]


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
