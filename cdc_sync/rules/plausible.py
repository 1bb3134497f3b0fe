"""What is valid and yet hardly meant: findings about a source's ids and its watermark."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cdc_sync.config.model import Config
from cdc_sync.contract import WatermarkValue
from cdc_sync.wording import counted

MANY = 10  #: rows that hardly have one value by chance
AHEAD = timedelta(minutes=2)  #: stamps beyond it lie in the future, by the source's clock
_WIDEST_ZONE = timedelta(hours=14)
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_ONCE = re.compile(r"(?i).*(creat|insert).*")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. A mend beside `ok` is advice."""

    name: str
    ok: bool
    says: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was counted in the source; `doubled` are ids that several rows have, the first few.

    `least` and `greatest` are of the watermark column, which is without zone where `naive`; None
    for one that no calendar has; `forms` are texts of it that are written in different ways, where
    it holds texts. `ahead` rows are stamped later than `AHEAD` after `clock`.
    """

    rows: int
    null_watermarks: int
    null_ids: int
    doubled: tuple[str, ...]
    primary: tuple[str, ...]
    least: WatermarkValue | None
    greatest: WatermarkValue | None
    ahead: int
    forms: tuple[str, ...]
    naive: bool
    clock: datetime


def of_ids(facts: Facts, ids: Sequence[str]) -> Iterator[Finding]:
    """Whether every row has an id, and one of its own."""
    if facts.null_ids:
        yield Finding(
            "id",
            ok=True,
            says=f"left out for a NULL in the id: {counted(facts.null_ids, 'row')}",
            mend="Give `source.id` columns that are never NULL.",
        )
    if facts.doubled:
        mend = "Give `source.id` the columns that are unique together."
        if facts.primary and set(facts.primary) != set(ids):
            mend += f" The table's primary key is: {', '.join(facts.primary)}"
        yield Finding(
            "id",
            ok=False,
            says=f"not unique: several rows have {', '.join(facts.doubled)}"
            " as their id and would overwrite each other",
            mend=mend,
        )


def of_watermark(facts: Facts, config: Config) -> Iterator[Finding]:
    """Whether the watermark column is filled, grows with a change, and is in its zone."""
    name = config.source.watermark
    if facts.null_watermarks:
        yield _nulls(facts, name)
    yield from _never_grows(facts, config)
    if len(facts.forms) > 1:
        yield Finding(
            "watermark",
            ok=True,
            says=f"{name} is written in {len(facts.forms)} forms: {', '.join(facts.forms)};"
            " texts compare letter by letter, so that a poll may pass some",
            mend="Write them all as 2026-01-31 12:00:00.",
        )
    if facts.ahead:
        yield _ahead(name, facts)


def newest_as_read(facts: Facts, name: str, zone: ZoneInfo) -> str:
    """How old the newest stamp is by our reading, where it has no zone; empty where it has one.

    Stamps of a zone further west look hours old and cannot be told from a quiet table: by a person
    who knows when the last change was, they can.
    """
    if not facts.naive or not isinstance(facts.greatest, datetime):
        return ""
    age = facts.clock - facts.greatest
    if age < timedelta():
        return ""
    unit = next((u for u, length in _UNITS.items() if age >= length), "s")
    return f"; the newest {name}, read as {zone.key}, is {age // _UNITS[unit]} {unit} old"


def _nulls(facts: Facts, name: str) -> Finding:
    share = facts.null_watermarks / facts.rows if facts.rows else 1.0
    every = facts.null_watermarks >= facts.rows
    rows = counted(facts.null_watermarks, "row")
    return Finding(
        "watermark",
        ok=not every,
        says=f"{name} is NULL in {rows} ({share:.2%}): only a reconcile sees such",
        mend=f"Fill {name} with every change.",
    )


def _never_grows(facts: Facts, config: Config) -> Iterator[Finding]:
    name, mapping = config.source.watermark, config.mapping
    used = {
        **dict.fromkeys(config.source.id, "`source.id`"),
        **({mapping.end: "`mapping.end`"} if mapping.end else {}),
        mapping.start: "`mapping.start`",
    }
    why = None
    if name in used:
        why = f"{name} is {used[name]}, too: such a column does not grow with a change"
    elif facts.rows >= MANY and facts.least == facts.greatest and not facts.null_watermarks:
        why = f"{name} is the same in all {counted(facts.rows, 'row')}: does a change move it?"
    elif _ONCE.fullmatch(name):
        why = f"{name} sounds as if it were set once: does a change move it?"
    if why is not None:
        mend = "Name a column in `source.watermark` that every change moves (a trigger can)."
        yield Finding("watermark", ok=True, says=why, mend=mend)


def _ahead(name: str, facts: Facts) -> Finding:
    newest = facts.greatest if isinstance(facts.greatest, datetime) else None
    when = newest.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if newest else "beyond year 9999"
    by = newest - facts.clock if newest else timedelta.max
    if facts.naive and by <= _WIDEST_ZONE:
        hours = f"{by / timedelta(hours=1):.1f} h"
        return Finding(
            "time zone",
            ok=True,
            says=f"the newest {name} is {hours} ahead of the source's clock ({when}):"
            " it is written in another zone",
            mend="Set `source.time_zone` to the zone of whoever writes it, as in: Europe/Berlin",
        )
    rows = "1 row lies" if facts.ahead == 1 else f"{counted(facts.ahead, 'row')} lie"
    return Finding(
        "watermark",
        ok=True,
        says=f"out of range: the {name} of {rows} in the future (the newest: {when}),"
        " and every poll reads such rows again",
        mend=f"Mend those rows, or the clock that stamps {name}.",
    )
