"""The types of config.yaml's values: how each is read, shown, and described in the JSON Schema."""

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticOmit

from cdc_sync.config import units, urls
from cdc_sync.config.interpolate import Interpolator, UnresolvedError
from cdc_sync.config.template import parse_template, template_columns

NEVER = "never"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
# APScheduler counts weekdays from Monday = 0, crontab from Sunday = 0 (or 7); names mean the same.
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY_RANGE = re.compile(r"(?:(?P<first>[0-7])(?:-(?P<last>[0-7]))?|\*)(?:/(?P<step>[1-7]))?")


class Key(Enum):
    """What is particular about a key, as a mark on its type."""

    URL = auto()  #: a form that stands for its user or password is percent-encoded
    SECRET = auto()  #: may be missing where a command runs without the secrets
    FILE = auto()  #: a path, relative to the folder of the configuration


def resolve_forms(
    given: object, interpolator: Interpolator | None, marks: Collection[object] = ()
) -> object:
    """Returns a text of a file with its forms resolved, any other value as it is.

    None where nothing is left, or where a secret is missing that is not needed.
    """
    if interpolator is None or not isinstance(given, str):
        return given
    try:
        if Key.URL not in marks:
            text = interpolator.interpolate(given) or None
            return (
                str(interpolator.folder.absolute() / text) if text and Key.FILE in marks else text
            )
        url = interpolator.interpolate_url(given)
        return urls.with_absolute_path(url, interpolator.folder) or None
    except UnresolvedError:
        if Key.SECRET in marks and not interpolator.secrets:
            return None
        raise


def _shown_by(show: Callable[[Any], Any]) -> PlainSerializer:
    return PlainSerializer(show, when_used="json")


def _any_of(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema(schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)})


def _pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$"}


def _read_by(parse: Callable[[str], Any], kind: type, wanted: str) -> BeforeValidator:
    """Reads texts with `parse`, and lets through what is already the value."""

    def read(given: object) -> object:
        if isinstance(given, str):
            return parse(given)
        if isinstance(given, kind) or given is None:
            return given
        raise ValueError(f"must be {wanted}.")

    return BeforeValidator(read)


# Texts


def read_text(given: object) -> object:
    """Returns a text or a secret; numbers and dates want quotes, for YAML changes their form."""
    if isinstance(given, str | SecretStr) or given is None:
        return given
    if isinstance(given, dict | list | tuple):
        raise ValueError("must be one text, not a list or a section.")  # noqa: TRY004
    raise ValueError("must be text: put quotes around it.")


def without_semicolon(query: str) -> str:
    """Returns a SELECT as it can stand in brackets."""
    return query.rstrip().removesuffix(";").rstrip()


def check_time_zone(name: str) -> str:
    """Returns the name of an IANA time zone; raises ValueError for any other."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"`{name}` is not a time zone. Write an IANA name such as `Europe/Berlin`."
        ) from None
    return name


PlainText = Annotated[str, BeforeValidator(read_text), Field(min_length=1)]
Query = Annotated[PlainText, AfterValidator(without_semicolon)]
TimeZone = Annotated[str, AfterValidator(check_time_zone), BeforeValidator(read_text)]


# Numbers and switches


def read_whole_number(given: object) -> int:
    """Returns a whole number, also one that a form has put in as text."""
    if isinstance(given, str) and _WHOLE_NUMBER.fullmatch(given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise ValueError("must be a whole number, such as `100`.")


def read_flag(given: object) -> bool:
    """Returns true or false, also from a text that a form has put in."""
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given in {"true", "false"}:
        return given == "true"
    raise ValueError("must be `true` or `false`.")


SHORTEST_WINDOW = timedelta(minutes=1)
WHOLE = BeforeValidator(read_whole_number)
Flag = Annotated[bool, BeforeValidator(read_flag)]


# Durations, rates and shares


def limit(shortest: str, longest: str | None = None) -> AfterValidator:
    """Refuses a shorter or a longer duration."""

    def check(value: timedelta) -> timedelta:
        if value < units.parse_duration(shortest):
            raise ValueError(f"must be at least `{shortest}`.")
        if longest and value > units.parse_duration(longest):
            raise ValueError(f"must be at most `{longest}`.")
        return value

    return AfterValidator(check)


def read_lookback(given: object) -> timedelta | int:
    """Returns a duration, or the number of an integer watermark."""
    if isinstance(given, timedelta):
        return given
    if isinstance(given, str) and not _WHOLE_NUMBER.fullmatch(given):
        return units.parse_duration(given)
    if isinstance(given, int | str) and not isinstance(given, bool) and int(given) >= 0:
        return int(given)
    raise ValueError("must be a duration such as `5m`, or a number from 0 up.")


def read_windows(given: object) -> tuple[timedelta, ...]:
    """Returns a list of durations in ascending order; none for `none`."""
    if given == units.OFF:
        return ()
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not texts:
        raise ValueError("must be a list of durations such as `[1h, 1d]`, or `none`.")
    windows = {units.parse_duration(each) if isinstance(each, str) else each for each in texts}
    if not all(isinstance(each, timedelta) for each in windows):
        raise ValueError("must be a list of durations such as `[1h, 1d]`, or `none`.")
    if min(windows) < SHORTEST_WINDOW:
        raise ValueError("must not have a window below `1m`: polls come more often.")
    return tuple(sorted(windows))


Duration = Annotated[
    timedelta,
    _read_by(units.parse_duration, timedelta, "a duration with its unit, such as `15s` or `5m`"),
    _shown_by(units.format_duration),
    _any_of(_pattern(units.DURATION_PATTERN)),
]
Lookback = Annotated[
    timedelta | int,
    BeforeValidator(read_lookback),
    _shown_by(lambda value: value if isinstance(value, int) else units.format_duration(value)),
    _any_of(_pattern(units.DURATION_PATTERN), {"type": "integer", "minimum": 0}),
]
Windows = Annotated[
    tuple[timedelta, ...],
    BeforeValidator(read_windows),
    _shown_by(lambda windows: [units.format_duration(each) for each in windows] or units.OFF),
    _any_of(
        {"type": "array", "items": _pattern(units.DURATION_PATTERN)},
        {"type": "string", "const": units.OFF},
    ),
]
RateLimit = Annotated[
    units.Rate | None,
    _read_by(units.parse_rate, units.Rate, "a rate such as `20/s` or `90/m`, or `none`"),
    _shown_by(units.format_rate),
    _any_of(_pattern(f"{units.RATE_PATTERN}|{units.OFF}")),
]
Share = Annotated[
    Annotated[float, Field(ge=0, le=1)] | None,
    _read_by(units.parse_share, float, "a share such as `20%`, or `none`"),
    _shown_by(units.format_share),
    _any_of(_pattern(f"{units.SHARE_PATTERN}|{units.OFF}")),
]


# Columns and templates


def read_columns(given: object, info: ValidationInfo) -> tuple[object, ...]:
    """Returns one column's name or a list of them as a tuple."""
    if not isinstance(given, str | list | tuple) or not given:
        raise ValueError("must be a column's name, or a list of them.")
    if isinstance(given, str):
        names: tuple[object, ...] = (given,)
    else:
        names = tuple(resolve_forms(name, info.context) for name in given)
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("must hold names of columns only; put quotes around a number.")
    if len(set(names)) < len(names):
        raise ValueError("names a column twice.")
    return names


def check_template(text: str) -> str:
    """Returns a column's name or a template with `{column}`; raises ValueError for any other."""
    parse_template(text)
    return text


def check_reference_template(text: str) -> str:
    """Returns a template that reads a column: without one every row would have one reference."""
    if not template_columns(text):
        raise ValueError("must have a column in it, such as `erp-{id}`.")
    return text


Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(read_columns),
    _shown_by(lambda names: names[0] if len(names) == 1 else list(names)),
    _any_of(
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    ),
]
Template = Annotated[
    str, AfterValidator(check_template), BeforeValidator(read_text), Field(min_length=1)
]
ReferenceTemplate = Annotated[Template, AfterValidator(check_reference_template)]


# When something runs


def read_cron_or_interval(text: str) -> str:
    """Returns a crontab line (its weekdays written as names), an interval, or `never`."""
    if text == NEVER:
        return text
    if re.fullmatch(units.DURATION_PATTERN, text):
        if units.parse_duration(text) < timedelta(seconds=1):
            raise ValueError("must be at least `1s`.")
        return text
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  # only a cron line needs it

    try:
        line = _with_named_weekdays(text)
        CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError:
        raise ValueError(
            f"`{text}` is not a time. Write a cron line such as `0 3 * * *`, an interval "
            "such as `6h`, or `never`."
        ) from None
    return line


def second_due(text: str, since: datetime) -> datetime | None:
    """Returns the second time after `since` that is due by such a text; None for `never`."""
    if text == NEVER:
        return None
    if re.fullmatch(units.DURATION_PATTERN, text):
        return since + 2 * units.parse_duration(text)
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  # only a cron line needs it

    trigger = CronTrigger.from_crontab(text, timezone=UTC)
    first = trigger.get_next_fire_time(since, since)
    second: datetime | None = first and trigger.get_next_fire_time(first, first)
    return second


def _with_named_weekdays(line: str) -> str:
    """Writes the numbers of the fifth field as names, as crontab(5) means them."""
    fields = line.split()
    if len(fields) != 5:
        return line
    fields[4] = ",".join(_named_weekdays(item) for item in fields[4].split(","))
    return " ".join(fields)


def _named_weekdays(item: str) -> str:
    found = _WEEKDAY_RANGE.fullmatch(item)
    if found is None or item == "*":
        return item
    first = int(found["first"] or 0)
    last = int(found["last"] or (first if found["first"] and not found["step"] else 6))
    return ",".join(_WEEKDAYS[day] for day in range(first, last + 1, int(found["step"] or 1)))


CronOrInterval = Annotated[str, AfterValidator(read_cron_or_interval), BeforeValidator(read_text)]


# Addresses and secrets


def read_address(given: object) -> str | None:
    """Returns `host:port`; None for `none`."""
    if given is None or given == units.OFF:
        return None
    found = _ADDRESS.fullmatch(given) if isinstance(given, str) else None
    if found is None or int(found["port"]) > 65535:
        raise ValueError("must be an address and a port, such as `127.0.0.1:8787`, or `none`.")
    return found[0]


def _read_database_url(normalize: Callable[[str], str]) -> BeforeValidator:
    def read(given: object) -> SecretStr:
        url = given.get_secret_value() if isinstance(given, SecretStr) else read_text(given)
        # Empty is what load_config leaves where a command runs without the secrets.
        return SecretStr(normalize(str(url)) if url else "")

    return BeforeValidator(read)


def read_proxy(given: object) -> SecretStr:
    """Returns `env`, `none` or the URL of a proxy, as a secret: it may hold a password."""
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    if text in ("env", units.OFF):
        return SecretStr(str(text))
    if not isinstance(text, str) or not urls.is_proxy_url(text):
        raise ValueError(
            "must be `env`, `none`, or the URL of a proxy, such as "
            "`http://user:${file:PATH}@proxy.example.com:3128`."
        )
    return SecretStr(text.rstrip("/"))


def read_alert_url(given: object, info: ValidationInfo) -> object:
    """Returns what looks like an Apprise URL; which services there are is Apprise's to know.

    An item that a form has made empty is left out, as a key would be.
    """
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    text = resolve_forms(text, info.context, {Key.SECRET})
    if text is None and given is not None:
        raise PydanticOmit
    if not isinstance(text, str) or "://" not in text:
        raise ValueError("must hold Apprise URLs only, such as `mailto://…` or `slack://…`.")
    return text


def read_alert_urls(given: object) -> object:
    """Returns a list of URLs as a tuple."""
    if not isinstance(given, list | tuple):
        raise ValueError("must be a list: one URL a line, each behind a `- `.")  # noqa: TRY004
    return tuple(given)


_MASKED = _shown_by(lambda secret: None if secret is None else urls.MASK)
_MASKED_URL = _shown_by(lambda secret: urls.mask_url(secret.get_secret_value()))
_TEXT = _any_of({"type": "string"})
Address = Annotated[
    str | None,
    BeforeValidator(read_address),
    _shown_by(lambda address: address or units.OFF),
    _TEXT,
]
SourceUrl = Annotated[
    SecretStr,
    Key.URL,
    Key.SECRET,
    _read_database_url(urls.normalize_source_url),
    _MASKED_URL,
    _TEXT,
]
StateUrl = Annotated[
    SecretStr,
    Key.URL,
    _read_database_url(
        partial(urls.normalize_database_url, drivers=(urls.SQLITE, urls.POSTGRESQL))
    ),
    _MASKED_URL,
    _TEXT,
]
HttpUrl = Annotated[
    str,
    AfterValidator(urls.normalize_http_url),
    BeforeValidator(read_text),
    _any_of({"type": "string", "pattern": "^https?://"}),
]
ProxyUrl = Annotated[
    SecretStr,
    Key.URL,
    Key.SECRET,
    BeforeValidator(read_proxy),
    _MASKED_URL,
    _any_of({"enum": ["env", "none"]}, _pattern("^https?://")),
]
OptionalFile = Annotated[str | None, Key.FILE, BeforeValidator(read_text), _TEXT]
ClientId = Annotated[str, Key.SECRET, BeforeValidator(read_text)]
Secret = Annotated[
    SecretStr, Key.SECRET, BeforeValidator(read_text), _MASKED, _any_of(_pattern(".+"))
]
OptionalSecret = Annotated[SecretStr | None, Key.SECRET, BeforeValidator(read_text), _MASKED, _TEXT]
AlertUrls = Annotated[
    tuple[Annotated[SecretStr, BeforeValidator(read_alert_url)], ...],
    BeforeValidator(read_alert_urls),
    _shown_by(lambda secrets: [urls.MASK] * len(secrets)),
    _any_of({"type": "array", "items": {"type": "string"}}),
]
