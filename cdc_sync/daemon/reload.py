"""SIGHUP: reads the configuration again, applies the keys that may change, refuses a wrong one."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cdc_sync.config.load import SECTIONS
from cdc_sync.config.model import Config
from cdc_sync.daemon.systemd import notify
from cdc_sync.errors import ConfigMistake

log = structlog.get_logger()

# Keys that are read at every use. All others are part of something open, or shape the payloads.
RELOADABLE = frozenset(
    {
        ("schedule", "poll"),
        ("schedule", "reconcile"),
        ("guard", "max_changes"),
        ("guard", "min_contracts"),
        ("state", "history"),
        ("log", "level"),
        ("log", "format"),
    }
)


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What a new configuration means for a running daemon."""

    config: Config  #: the one from now on: the old one with what may change
    applied: list[str]  #: the keys that change now
    kept: list[str]  #: the keys that change with the next start


def plan_reload(old: Config, new: Config) -> ReloadPlan:
    """Plans the old configuration with those keys of the new one that may change at once."""
    differing = [
        (section, key)
        for section, model in SECTIONS.items()
        for key in model.model_fields
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
    applied = [place for place in differing if place in RELOADABLE]
    sections = {section: getattr(old, section) for section, _ in applied}
    for section, key in applied:
        value = getattr(getattr(new, section), key)
        sections[section] = sections[section].model_copy(update={key: value})
    return ReloadPlan(
        old.model_copy(update=sections),
        [".".join(place) for place in applied],
        [".".join(place) for place in differing if place not in RELOADABLE],
    )


class Reload:
    """Requested by a signal, done between two beats; `read` raises ConfigMistake."""

    def __init__(
        self, read: Callable[[], Config], applied: Callable[[Config], None] = lambda _config: None
    ) -> None:
        self._read = read
        self._applied = applied
        self._requested = threading.Event()
        self.refused = False  #: the configuration in its file is wrong, and an older one in force

    def request(self) -> None:
        """Requests a reload. Safe in a signal handler."""
        self._requested.set()

    def apply_if_requested(self, config: Config, apply: Callable[[Config], None]) -> None:
        """Reads the configuration if that was requested, and applies what may change at once."""
        if not self._requested.is_set():
            return
        self._requested.clear()
        notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
        try:
            new = plan_reload(config, self._read())
        except ConfigMistake as error:
            self.refused = True
            log.error(  # noqa: TRY400  # a person's mistake, in words
                "config.refused", reason=str(error), mend="Fix it and reload; the old one goes on."
            )
        else:
            self.refused = False
            apply(new.config)
            self._applied(new.config)
            log.info("config.reloaded", changed=new.applied)
            if new.kept:
                log.warning("config.needs_restart", keys=new.kept, mend="The old ones go on.")
        notify(READY="1")
