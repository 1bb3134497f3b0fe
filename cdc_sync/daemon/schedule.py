"""APScheduler: wakes the poll on its interval, the reconcile by cron; housekeeping hourly."""

from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from cdc_sync.config.model import ScheduleConfig
from cdc_sync.config.units import parse_duration

# Its defaults drop a job that is a second late; missed runs are joined, never two at once.
_JOBS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}


def build_schedule(
    config: ScheduleConfig,
    *,
    wake_poll: Callable[[], None],
    wake_reconcile: Callable[[], None],
    prune: Callable[[], None],
) -> BackgroundScheduler:
    """The schedule, not started. Its jobs only wake: they cannot block, be skipped or be late."""
    scheduler = BackgroundScheduler(timezone=UTC, job_defaults=_JOBS)
    scheduler.add_job(wake_poll, IntervalTrigger(seconds=config.poll.total_seconds()), id="poll")
    trigger = _trigger(config.reconcile)
    if trigger is not None:
        scheduler.add_job(wake_reconcile, trigger, id="reconcile")
    scheduler.add_job(prune, IntervalTrigger(hours=1), id="prune")
    return scheduler


def was_missed(text: str, last: datetime, now: datetime) -> bool:
    """Whether a reconcile was due since the last one began, while nobody ran."""
    trigger = _trigger(text)
    due = trigger and trigger.get_next_fire_time(last, last)
    return due is not None and due <= now


def _trigger(text: str) -> BaseTrigger | None:
    if text == "never":
        return None
    if " " in text.strip():
        return CronTrigger.from_crontab(text, timezone=UTC)
    return IntervalTrigger(seconds=parse_duration(text).total_seconds())
