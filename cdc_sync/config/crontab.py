"""Weekdays of a crontab line as names, for schedulers that count them from Monday."""

import re

# APScheduler counts weekdays from Monday = 0, crontab from Sunday = 0 (or 7); names mean the same.
_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NUMBERS = re.compile(r"(?:(?P<first>[0-7])(?:-(?P<last>[0-7]))?|\*)(?:/(?P<step>[1-7]))?")


def with_named_weekdays(line: str) -> str:
    """The line with the numbers of its fifth field as names, as crontab(5) means them."""
    fields = line.split()
    if len(fields) != 5:
        return line
    fields[4] = ",".join(_named(item) for item in fields[4].split(","))
    return " ".join(fields)


def _named(item: str) -> str:
    found = _NUMBERS.fullmatch(item)
    if found is None or item == "*":
        return item
    first = int(found["first"] or 0)
    last = int(found["last"] or (first if found["first"] and not found["step"] else 6))
    return ",".join(_NAMES[day] for day in range(first, last + 1, int(found["step"] or 1)))
