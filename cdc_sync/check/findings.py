"""Finds what is valid and probably a mistake: in the ids, the watermark and the first payloads."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from cdc_sync.config.model import Config, MappingConfig
from cdc_sync.config.template import template_columns
from cdc_sync.contract import Field, Mapped, SourceRow, fields_of
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.source.columns import parse_time
from cdc_sync.source.dialects.base import instant_text
from cdc_sync.source.inspection import SourceFacts
from cdc_sync.wording import format_count

MANY = 10  #: rows that hardly have one value by chance
_WIDEST_ZONE = timedelta(hours=14)
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "min": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_ONCE = re.compile(r"(?i).*(creat|insert).*")
ENOUGH = 3  #: rows from which a habit is told from chance
_YEARS = range(1950, 2101)
_NO_NAME = re.compile(r"[\d.,-]+|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_Payloads: TypeAlias = Sequence[tuple[str, Mapping[str, Field]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. A hint beside `ok` is advice."""

    name: str
    message: str
    hint: str | None = None
    ok: bool = True


def check_ids(facts: SourceFacts, ids: Sequence[str]) -> Iterator[Finding]:
    """Whether every row has an id, and one of its own."""
    if facts.null_ids:
        yield Finding(
            "id",
            f"left out for a NULL in the id: {format_count(facts.null_ids, 'row')}",
            hint="Give `source.id` columns that are never NULL.",
        )
    if facts.duplicate_ids:
        hint = "Give `source.id` the columns that are unique together."
        if facts.primary and set(facts.primary) != set(ids):
            hint += f" The table's primary key is: {', '.join(facts.primary)}"
        yield Finding(
            "id",
            f"not unique: several rows have {', '.join(facts.duplicate_ids)}"
            " as their id and would overwrite each other",
            hint=hint,
            ok=False,
        )


def check_watermark(facts: SourceFacts, config: Config) -> Iterator[Finding]:
    """Whether the watermark column is filled, grows with a change, and is in its zone."""
    name = config.source.watermark
    if facts.null_watermarks:
        yield _nulls(facts, name)
    yield from _never_grows(facts, config)
    if len(facts.forms) > 1:
        yield Finding(
            "watermark",
            f"{name} is written in {len(facts.forms)} forms: {', '.join(facts.forms)};"
            " texts compare letter by letter, so that a poll may pass some",
            hint="Write them all as 2026-01-31 12:00:00.",
        )
    if facts.whole_days and facts.rows >= MANY and facts.least != facts.greatest:
        yield Finding(
            "watermark",
            f"{name} seems to hold whole days: polls do not see what changes later on such a day",
            hint="Name a column in `source.watermark` with a time of day.",
        )
    if facts.ahead:
        yield _ahead(name, facts)


def describe_newest_stamp(facts: SourceFacts, name: str, zone: ZoneInfo) -> str:
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


def _nulls(facts: SourceFacts, name: str) -> Finding:
    share = facts.null_watermarks / facts.rows if facts.rows else 1.0
    every = facts.null_watermarks >= facts.rows
    rows = format_count(facts.null_watermarks, "row")
    return Finding(
        "watermark",
        f"{name} is NULL in {rows} ({share:.2%}): only a reconcile sees such",
        hint=f"Fill {name} with every change.",
        ok=not every,
    )


def _never_grows(facts: SourceFacts, config: Config) -> Iterator[Finding]:
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
        why = f"{name} is the same in all {format_count(facts.rows, 'row')}: does a change move it?"
    elif _ONCE.fullmatch(name):
        why = f"{name} sounds as if it were set once: does a change move it?"
    if why is not None:
        hint = "Name a column in `source.watermark` that every change moves (a trigger can)."
        yield Finding("watermark", why, hint=hint)


def _ahead(name: str, facts: SourceFacts) -> Finding:
    newest = facts.greatest if isinstance(facts.greatest, datetime) else None
    when = instant_text(newest) if newest else "beyond year 9999"
    by = newest - facts.clock if newest else timedelta.max
    if facts.naive and by <= _WIDEST_ZONE:
        hours = f"{by / timedelta(hours=1):.1f} h"
        return Finding(
            "time zone",
            f"the newest {name} is {hours} ahead of the source's clock ({when}):"
            " it is written in another zone",
            hint="Set `source.time_zone` to the zone of whoever writes it, as in: Europe/Berlin",
        )
    rows = format_count(facts.ahead, "row lies", "rows lie")
    return Finding(
        "watermark",
        f"out of range: the {name} of {rows} in the future (the newest: {when}),"
        " and every poll reads such rows again",
        hint=f"Correct those rows, or the clock that stamps {name}.",
    )


def check_sample(
    sample: Sequence[tuple[SourceRow, Mapped]], mapping: MappingConfig, zone: ZoneInfo
) -> Iterator[Finding]:
    """Whether the payloads of the first rows look like contracts."""
    payloads = [(one.reference or one.source_id, fields_of(one.payload)) for _, one in sample]
    yield from _references(sample, mapping)
    yield from _accounts(payloads)
    yield from _order_of_dates(payloads)
    for field in ("start", "end"):
        yield from _range_of_dates(field, payloads)
        template = mapping.start if field == "start" else mapping.end
        yield from _midnights(field, template, mapped_columns(mapping), sample, zone)


def _references(
    sample: Sequence[tuple[SourceRow, Mapped]], mapping: MappingConfig
) -> Iterator[Finding]:
    counts = Counter(one.reference for _, one in sample if one.reference)
    extra = sum(counts.values()) - len(counts)
    if extra:
        reference, rows = counts.most_common(1)[0]
        yield Finding(
            "reference",
            f"not unique: {rows} of the first {len(sample)} rows want {reference};"
            " the first keeps it, the others are rejected",
            hint=f"Put the columns of `source.id` into `mapping.reference` ({mapping.reference}).",
            ok=extra * 2 < len(sample),
        )


def _accounts(payloads: _Payloads) -> Iterator[Finding]:
    accounts = [fields["account"] for _, fields in payloads if fields.get("account")]
    descriptions = {fields.get("description") for _, fields in payloads}
    if len(accounts) < ENOUGH:
        return
    odd = [account for account in accounts if account and _NO_NAME.fullmatch(account)]
    if len(odd) * 2 > len(accounts):
        yield Finding(
            "account",
            f"{odd[0]} and its like are no names of accounts",
            hint="Name the column with the account's name in `mapping.account`.",
        )
    elif len(accounts) >= MANY and len(set(accounts)) * MANY <= len(descriptions):
        yield Finding(
            "account",
            f"the first {len(accounts)} rows have"
            f" {format_count(len(set(accounts)), 'account')}"
            f" and {len(descriptions)} descriptions: are the two swapped?",
            hint="Look at `mapping.account` and `mapping.description`.",
        )


def _order_of_dates(payloads: _Payloads) -> Iterator[Finding]:
    both = [
        (name, start, end)
        for name, fields in payloads
        if (start := fields.get("start")) and (end := fields.get("end"))
    ]
    reversed_ = [pair for pair in both if pair[2] < pair[1]]
    if reversed_:
        swapped = len(both) >= ENOUGH and len(reversed_) * 2 > len(both)
        name, start, end = reversed_[0]
        yield Finding(
            "dates",
            f"end is before start in {len(reversed_)} of {format_count(len(both), 'row')}"
            f" with both; the first, {name}: {start} … {end}",
            hint="Swap `mapping.start` and `mapping.end`." if swapped else "Correct those rows.",
            ok=not swapped,
        )


def _range_of_dates(field: str, payloads: _Payloads) -> Iterator[Finding]:
    odd = [
        (name, day)
        for name, fields in payloads
        if (day := fields.get(field)) and int(day[:4]) not in _YEARS
    ]
    if odd:
        name, day = odd[0]
        yield Finding(
            "dates",
            f"{field} is out of range in {format_count(len(odd), 'row')}; the first, {name}: {day}",
            hint="Correct those rows; where it stands for none, make it NULL in a `source.query`.",
        )


def _midnights(
    field: str,
    template: str | None,
    columns: Sequence[str],
    sample: Sequence[tuple[SourceRow, Mapped]],
    zone: ZoneInfo,
) -> Iterator[Finding]:
    """One hour late in the day, and no other: a midnight further east, whose date is lost."""
    if template is None or (names := template_columns(template)) != (template,):
        return
    place = columns.index(names[0])
    instants = [found for row, _ in sample if (found := _instant(row.values[place]))]
    hours = {instant.astimezone(zone).time() for instant in instants}
    if len(instants) >= ENOUGH and len(hours) <= 2 and all(_is_late(hour) for hour in hours):
        shown = min(hours).strftime("%H:%M")
        yield Finding(
            "time zone",
            f"{field} is at {shown} in every row: midnight in a zone further east than"
            f" {zone.key}, so that each date is a day early",
            hint="Set `source.time_zone` to the zone of those dates, as in: Europe/Berlin",
        )


def _instant(value: object) -> datetime | None:
    value = parse_time(value) if isinstance(value, str) else value
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _is_late(hour: time) -> bool:
    # No zone is less than an hour away, and those that are off the hour are so by these minutes.
    on_the_hour = hour.minute == 0 or (hour.hour < 23 and hour.minute in (15, 30))
    return hour.hour >= 12 and on_the_hour and hour.second == hour.microsecond == 0
