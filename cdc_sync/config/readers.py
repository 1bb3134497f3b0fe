"""Reads the values of config.yaml: what YAML gives becomes what it means.

A reader raises ValueError with words that go on after the key's name, or with a whole sentence.
Those of secrets never quote them. A value that is already what it should be (from code) passes.
"""

import re
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from cdc_sync.config import crontab, units
from cdc_sync.config.template import columns_of, parse_template

NEVER = "never"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def text(given: object) -> object:
    """A text, or a secret; numbers and dates want quotes, for YAML changes how they are written."""
    if isinstance(given, str | SecretStr) or given is None:
        return given
    if isinstance(given, dict | list | tuple):
        raise ValueError("must be one text, not a list or a section.")  # noqa: TRY004
    raise ValueError("must be text: put quotes around it.")


def whole(given: object) -> int:
    """A whole number, also one that a form has put in as text."""
    if isinstance(given, str) and _WHOLE_NUMBER.fullmatch(given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise ValueError("must be a whole number, such as `100`.")


def flag(given: object) -> bool:
    """True or false, also as a text that a form has put in."""
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given in {"true", "false"}:
        return given == "true"
    raise ValueError("must be `true` or `false`.")


def lookback(given: object) -> timedelta | int:
    """A duration, or a number for an integer watermark."""
    if isinstance(given, timedelta):
        return given
    if isinstance(given, str) and not _WHOLE_NUMBER.fullmatch(given):
        return units.parse_duration(given)
    try:
        number = whole(given)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError("must be a duration such as `5m`, or a number from 0 up.")
    return number


def share(given: object) -> float | None:
    """A share from 0 to 1, or None for `none`."""
    if isinstance(given, float) and 0 <= given <= 1:
        return given
    if isinstance(given, str):
        return units.parse_share(given)
    if given is None:
        return None
    raise ValueError("must be a share such as `20%`, or `none`.")


def columns(given: object) -> object:
    """One column's name or a list of them, as a tuple."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("must be a column's name, or a list of them.")
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("must hold names of columns only; put quotes around a number.")
    if len(set(names)) < len(names):
        raise ValueError("names a column twice.")
    return tuple(names)


def address(given: object) -> str | None:
    """`host:port`, or None for `none`."""
    if given is None or given == units.OFF:
        return None
    found = _ADDRESS.fullmatch(given) if isinstance(given, str) else None
    if found is None or int(found["port"]) > 65535:
        raise ValueError("must be an address and a port, such as `127.0.0.1:8787`, or `none`.")
    return found[0]


def time_zone(name: str) -> str:
    """An IANA time zone's name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"`{name}` is not a time zone. Write an IANA name such as `Europe/Berlin`."
        ) from None
    return name


def template(text: str) -> str:
    """A column name, or a template with `{column}`."""
    parse_template(text)
    return text


def reference_template(text: str) -> str:
    """A template that does not give every row the same."""
    if not columns_of(text):
        raise ValueError("must have a column in it, such as `erp-{id}`.")
    return text


def without_semicolon(query: str) -> str:
    """A SELECT as it can stand in brackets."""
    return query.rstrip().removesuffix(";").rstrip()


def occasion(text: str) -> str:
    """A crontab line (its weekdays written as names), an interval, or `never`."""
    if text == NEVER:
        return text
    if re.fullmatch(units.DURATION_PATTERN, text):
        if units.parse_duration(text) < timedelta(seconds=1):
            raise ValueError("must be at least `1s`.")
        return text
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    try:
        line = crontab.with_named_weekdays(text)
        CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError:
        raise ValueError(
            f"`{text}` is not a time. Write a cron line such as `0 3 * * *`, an interval "
            "such as `6h`, or `never`."
        ) from None
    return line


def alert_url(given: object) -> object:
    """An Apprise URL; which services there are is Apprise's to know."""
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not isinstance(text, str) or "://" not in text:
        raise ValueError("must hold Apprise URLs only, such as `mailto://…` or `slack://…`.")
    return given


def alert_urls(given: object) -> object:
    """A list of URLs, as a tuple."""
    if not isinstance(given, list | tuple):
        raise ValueError("must be a list: one URL a line, each behind a `- `.")  # noqa: TRY004
    return tuple(given)
