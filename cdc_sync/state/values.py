"""The values of the `control` table: what the daemon, the commands and persons tell each other.

`state.control` stores each as JSON under one key. Beside them the table keeps values that the
rules work with: `gate.ApiStatus`, `pace.SharedPace`, and what a horizon remembers. A new field
has a default, because the value that is read may come from an older version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cdc_sync.rules.sweep import LastSweep
from cdc_sync.rules.watermark import Sample


@dataclass(frozen=True, slots=True)
class Paused:
    """Whether a person has paused delivery."""

    is_paused: bool


PAUSED = Paused(is_paused=True)


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """When a person last asked for a probe at once, by `resume`, `retry` or `resend`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class ReconcileDue:
    """Since when a full scan is due that no schedule asked for."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """The platform and the client that the state belongs to."""

    base_url: str
    client_id: str


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The last sweep of each window."""

    last: tuple[LastSweep, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberSamples:
    """Samples of an integer watermark, which turn the window of a sweep into a number."""

    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class LateReport:
    """When a sweep last found changes that polls had passed, and what probably made them late."""

    at: datetime
    cause: str
    hint: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Hashes of the configuration as of the last full scan.

    `payloads` is of all that decides what payloads look like, `watermark` of the column alone.
    """

    payloads: str
    watermark: str | None = None


@dataclass(frozen=True, slots=True)
class HorizonReport:
    """The last horizon, for `status`.

    `read_to` is the value and the watermark's version then, `taken_at` our time when the source's
    was `clock`.
    """

    horizon: str | None = None
    held_back_by: str | None = None
    basis: str = "lookback"
    basis_reason: str | None = None
    basis_hint: str | None = None
    clock: datetime | None = None
    read_to: tuple[str | None, int] | None = None
    taken_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PollReport:
    """How the last poll ended, and when one last ended well (`good_at`)."""

    started: datetime
    finished: datetime
    good_at: datetime
    rows: int = 0
    changed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """How the last full scan ended."""

    started: datetime
    finished: datetime | None = None
    rows: int = 0
    changed: int = 0
    missed: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The last attempt that was settled; `status` is None where no HTTP answer came."""

    at: datetime
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """How the rows of the last full scan are accounted for."""

    at: datetime
    rows: int = 0
    pending: int = 0
    synced: int = 0
    rejected: int = 0
    accepted: int = 0
    waiting: int = 0
    held: int = 0
    unexplained: int = 0


@dataclass(frozen=True, slots=True)
class HoldReport:
    """What the latest run held, of how many `known` contracts."""

    run: int
    at: datetime
    kind: str
    changes: int = 0
    known: int = 0
    updated: int = 0
    new: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Presence:
    """A daemon, as of its last sign of life (`beat_at`).

    One that captured leaves when it ended (`ended_at`), and by which `error`.
    """

    pid: int
    host: str | None
    since: datetime
    beat_at: datetime
    role: str
    token_expires: datetime | None = None
    error: str | None = None
    ended_at: datetime | None = None
    place: str | None = None  #: within which `pid` means this process


@dataclass(frozen=True, slots=True)
class Request:
    """A command's request to the daemon; `report` is None until it is answered."""

    id: str
    kind: str
    at: datetime | None = None
    report: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """How often each kind of outcome has come since the state was made."""

    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GuardRunNumber:
    """The number of the latest run that held something or had changes wait."""

    number: int


@dataclass(frozen=True, slots=True)
class UnjudgedRuns:
    """The runs whose changes wait for the guard."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HolderNumber:
    """The number of the latest process that captures; earlier ones may write no more."""

    number: int


@dataclass(frozen=True, slots=True)
class CookieKey:
    """The random key of the page's cookies, as hexadecimal digits."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownTrouble:
    """What is remembered of a trouble. `degree` None: that it is there was not told."""

    says: str
    since: datetime
    news_since: datetime | None = None
    degree: int | str | None = None
    told_at: datetime | None = None
    away_since: datetime | None = None


class AlertKind(StrEnum):
    """What an alert tells; by Apprise's words, for its colours and icons."""

    TROUBLE = "warning"
    OVER = "success"


@dataclass(frozen=True, slots=True)
class UnsentAlert:
    """An alert on its way to one receiver."""

    to: str
    kind: AlertKind
    says: str
    made_at: datetime
    tries: int = 0
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertMemory:
    """The troubles that people were told of, by their keys, and the alerts on their way."""

    known: Mapping[str, KnownTrouble] = field(default_factory=dict)
    unsent: tuple[UnsentAlert, ...] = ()
