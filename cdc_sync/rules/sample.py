"""What is valid and yet hardly meant: findings about the first rows, as they would be sent."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time
from typing import TypeAlias
from zoneinfo import ZoneInfo

from cdc_sync.config.model import MappingConfig
from cdc_sync.config.template import columns_of
from cdc_sync.contract import Field, Mapped, SourceRow, fields_of
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.rules.plausible import MANY, Finding
from cdc_sync.wording import counted

ENOUGH = 3  #: rows from which a habit is told from chance
_YEARS = range(1950, 2101)
_NO_NAME = re.compile(r"[\d.,-]+|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_Payloads: TypeAlias = Sequence[tuple[str, Mapping[str, Field]]]


def of_sample(
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
            ok=extra * 2 < len(sample),
            says=f"not unique: {rows} of the first {len(sample)} rows want {reference};"
            " the first keeps it, the others are rejected",
            mend=f"Put the columns of `source.id` into `mapping.reference` ({mapping.reference}).",
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
            ok=True,
            says=f"{odd[0]} and its like are no names of accounts",
            mend="Name the column with the account's name in `mapping.account`.",
        )
    elif len(accounts) >= MANY and len(set(accounts)) * MANY <= len(descriptions):
        yield Finding(
            "account",
            ok=True,
            says=f"the first {len(accounts)} rows have {counted(len(set(accounts)), 'account')}"
            f" and {len(descriptions)} descriptions: are the two swapped?",
            mend="Look at `mapping.account` and `mapping.description`.",
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
            ok=not swapped,
            says=f"end is before start in {len(reversed_)} of {counted(len(both), 'row')}"
            f" with both; the first, {name}: {start} … {end}",
            mend="Swap `mapping.start` and `mapping.end`." if swapped else "Mend those rows.",
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
            ok=True,
            says=f"{field} is out of range in {counted(len(odd), 'row')}; the first, {name}: {day}",
            mend="Mend those rows; where it stands for none, make it NULL in a `source.query`.",
        )


def _midnights(
    field: str,
    template: str | None,
    columns: Sequence[str],
    sample: Sequence[tuple[SourceRow, Mapped]],
    zone: ZoneInfo,
) -> Iterator[Finding]:
    """One hour late in the day, and no other: a midnight further east, whose date is lost."""
    if template is None or (names := columns_of(template)) != (template,):
        return
    place = columns.index(names[0])
    instants = [found for row, _ in sample if (found := _instant(row.values[place]))]
    hours = {instant.astimezone(zone).time() for instant in instants}
    if len(instants) >= ENOUGH and len(hours) <= 2 and all(_is_late(hour) for hour in hours):
        shown = min(hours).strftime("%H:%M")
        yield Finding(
            "time zone",
            ok=True,
            says=f"{field} is at {shown} in every row: midnight in a zone further east than"
            f" {zone.key}, so that each date is a day early",
            mend="Set `source.time_zone` to the zone of those dates, as in: Europe/Berlin",
        )


def _instant(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return value if isinstance(value, datetime) and value.tzinfo is not None else None


def _is_late(hour: time) -> bool:
    # No zone is less than an hour away, and those that are off the hour are so by these minutes.
    on_the_hour = hour.minute == 0 or (hour.hour < 23 and hour.minute in (15, 30))
    return hour.hour >= 12 and on_the_hour and hour.second == hour.microsecond == 0
