"""Reads and writes durations, rates and shares as people do: `15s`, `20/s`, `20%`."""

import re
from dataclasses import dataclass
from datetime import timedelta

OFF = "none"  # how a rate, a share or an address is switched off in config.yaml

DURATION_PATTERN = r"[0-9]+(\.[0-9]+)?[smhd]"
RATE_PATTERN = r"[0-9]+(\.[0-9]+)?/[sm]"
SHARE_PATTERN = r"[0-9]+(\.[0-9]+)?%"

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_SECONDS_PER = {"s": 1, "m": 60}


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests a second, above 0."""

    per_second: float


def parse_duration(text: str) -> timedelta:
    """Reads `15s`, `5m`, `1.5h` or `90d`. Raises ValueError with the right form."""
    wrong = f"`{text}` is not a duration. Write a number and its unit: `15s`, `5m`, `1h` or `90d`."
    if re.fullmatch(DURATION_PATTERN, text) is None:
        raise ValueError(wrong)
    try:
        return float(text[:-1]) * _UNITS[text[-1]]
    except OverflowError:
        raise ValueError(wrong) from None


def format_duration(value: timedelta) -> str:
    """Writes the shortest form that `parse_duration` reads back: `5m`, not `300s`."""
    for letter, unit in _UNITS.items():
        if value and value % unit == timedelta(0):
            return f"{value // unit}{letter}"
    return f"{_number(value.total_seconds())}s"


def parse_rate(text: str) -> Rate | None:
    """Reads `20/s` or `90/m`; None for `none`, no limit. Raises ValueError with the right form."""
    if text == OFF:
        return None
    if re.fullmatch(RATE_PATTERN, text) and (count := float(text[:-2])) > 0:
        return Rate(per_second=count / _SECONDS_PER[text[-1]])
    raise ValueError(f"`{text}` is not a rate. Write `20/s`, `90/m` or `none`.")


def format_rate(rate: Rate | None) -> str:
    """Writes what `parse_rate` reads back; per minute where it is no whole number a second."""
    if rate is None:
        return OFF
    if rate.per_second == int(rate.per_second):
        return f"{int(rate.per_second)}/s"
    return f"{_number(rate.per_second * 60)}/m"


def parse_share(text: str) -> float | None:
    """Reads `20%` as 0.2; None for `none`, no bound. Raises ValueError with the right form."""
    if text == OFF:
        return None
    if re.fullmatch(SHARE_PATTERN, text) and (percent := float(text[:-1])) <= 100:
        return percent / 100
    raise ValueError(f"`{text}` is not a share. Write it from `0%` to `100%`, as `20%`, or `none`.")


def format_share(share: float | None) -> str:
    """Writes what `parse_share` reads back."""
    return OFF if share is None else f"{_number(share * 100)}%"


def _number(value: float) -> str:
    """Writes a number without an exponent and without the noise of binary fractions."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
