"""The kinds of values in config.yaml: how each is read, shown, and described in the schema."""

import re
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from cdc_sync.config import units, urls
from cdc_sync.config.template import parse_template, template_columns


def whole(given: object) -> int:
    """A whole number, also one that a form has put in as text."""
    if isinstance(given, str) and _WHOLE_NUMBER.fullmatch(given):
        return int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    raise ValueError("must be a whole number, such as `100`.")


WHOLE = BeforeValidator(whole)  # a number of YAML, or one that a form has put in as text


def text(given: object) -> object:
    """A text, or a secret; numbers and dates want quotes, for YAML changes how they are written."""
    if isinstance(given, str | SecretStr) or given is None:
        return given
    if isinstance(given, dict | list | tuple):
        raise ValueError("must be one text, not a list or a section.")  # noqa: TRY004
    raise ValueError("must be text: put quotes around it.")


PlainText = Annotated[str, BeforeValidator(text), Field(min_length=1)]


def without_semicolon(query: str) -> str:
    """A SELECT as it can stand in brackets."""
    return query.rstrip().removesuffix(";").rstrip()


Query = Annotated[PlainText, AfterValidator(without_semicolon)]
ClientId = Annotated[str, BeforeValidator(text)]


def _mask(_: object) -> str:
    return urls.MASK


def _shown_by(show: Callable[[Any], str]) -> PlainSerializer:
    return PlainSerializer(show, return_type=str, when_used="json")


def _text_schema(pattern: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", **more})


Secret = Annotated[SecretStr, BeforeValidator(text), _shown_by(_mask), _text_schema(".+")]


def _mask_if_any(secret: SecretStr | None) -> str | None:
    return None if secret is None else urls.MASK


OptionalSecret = Annotated[
    SecretStr | None,
    BeforeValidator(text),
    PlainSerializer(_mask_if_any, when_used="json"),
    WithJsonSchema({"type": "string"}),
]


def _database_url(*drivers: str) -> BeforeValidator:
    def read(given: object) -> SecretStr:
        url = given.get_secret_value() if isinstance(given, SecretStr) else text(given)
        # Empty is what load_config leaves where a command runs without the secrets.
        return SecretStr(urls.normalize_database_url(str(url), drivers=drivers) if url else "")

    return BeforeValidator(read)


def _mask_url(secret: SecretStr) -> str:
    return urls.mask_url(secret.get_secret_value())


SourceUrl = Annotated[
    SecretStr,
    _database_url(urls.POSTGRESQL, urls.MYSQL, urls.SQLITE),
    _shown_by(_mask_url),
    WithJsonSchema({"type": "string"}),
]
StateUrl = Annotated[
    SecretStr,
    _database_url(urls.SQLITE, urls.POSTGRESQL),
    _shown_by(_mask_url),
    WithJsonSchema({"type": "string"}),
]
HttpUrl = Annotated[
    str,
    AfterValidator(urls.normalize_http_url),
    BeforeValidator(text),
    WithJsonSchema({"type": "string", "pattern": "^https?://"}),
]


def _read_by(parse: Callable[[str], Any], kind: type, wanted: str) -> BeforeValidator:
    """Reads texts with `parse`, and lets through what is already the value."""

    def read(given: object) -> object:
        if isinstance(given, str):
            return parse(given)
        if isinstance(given, kind) or given is None:
            return given
        raise ValueError(f"must be {wanted}.")

    return BeforeValidator(read)


Duration = Annotated[
    timedelta,
    _read_by(units.parse_duration, timedelta, "a duration with its unit, such as `15s` or `5m`"),
    _shown_by(units.format_duration),
    _text_schema(units.DURATION_PATTERN),
]
RateLimit = Annotated[
    units.Rate | None,
    _read_by(units.parse_rate, units.Rate, "a rate such as `20/s` or `90/m`, or `none`"),
    _shown_by(units.format_rate),
    _text_schema(f"{units.RATE_PATTERN}|{units.OFF}"),
]


def share(given: object) -> float | None:
    """A share from 0 to 1, or None for `none`."""
    if isinstance(given, float) and 0 <= given <= 1:
        return given
    if isinstance(given, str):
        return units.parse_share(given)
    if given is None:
        return None
    raise ValueError("must be a share such as `20%`, or `none`.")


Share = Annotated[
    float | None,
    BeforeValidator(share),
    _shown_by(units.format_share),
    _text_schema(f"{units.SHARE_PATTERN}|{units.OFF}"),
]


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


Lookback = Annotated[
    timedelta | int,
    BeforeValidator(lookback),
    PlainSerializer(
        lambda value: value if isinstance(value, int) else units.format_duration(value),
        when_used="json",
    ),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{units.DURATION_PATTERN}$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]


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


Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(columns),
    PlainSerializer(lambda names: names[0] if len(names) == 1 else list(names), when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]


def address(given: object) -> str | None:
    """`host:port`, or None for `none`."""
    if given is None or given == units.OFF:
        return None
    found = _ADDRESS.fullmatch(given) if isinstance(given, str) else None
    if found is None or int(found["port"]) > 65535:
        raise ValueError("must be an address and a port, such as `127.0.0.1:8787`, or `none`.")
    return found[0]


Address = Annotated[
    str | None,
    BeforeValidator(address),
    _shown_by(lambda address: address or units.OFF),
    WithJsonSchema({"type": "string"}),
]


def check_time_zone(name: str) -> str:
    """An IANA time zone's name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"`{name}` is not a time zone. Write an IANA name such as `Europe/Berlin`."
        ) from None
    return name


TimeZone = Annotated[str, AfterValidator(check_time_zone), BeforeValidator(text)]


def template(text: str) -> str:
    """A column name, or a template with `{column}`."""
    parse_template(text)
    return text


Template = Annotated[str, AfterValidator(template), BeforeValidator(text), Field(min_length=1)]


def reference_template(text: str) -> str:
    """A template that does not give every row the same."""
    if not template_columns(text):
        raise ValueError("must have a column in it, such as `erp-{id}`.")
    return text


ReferenceTemplate = Annotated[Template, AfterValidator(reference_template)]


def read_cron_or_interval(text: str) -> str:
    """A crontab line (its weekdays written as names), an interval, or `never`."""
    if text == NEVER:
        return text
    if re.fullmatch(units.DURATION_PATTERN, text):
        if units.parse_duration(text) < timedelta(seconds=1):
            raise ValueError("must be at least `1s`.")
        return text
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    try:
        line = with_named_weekdays(text)
        CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError:
        raise ValueError(
            f"`{text}` is not a time. Write a cron line such as `0 3 * * *`, an interval "
            "such as `6h`, or `never`."
        ) from None
    return line


CronOrInterval = Annotated[str, AfterValidator(read_cron_or_interval), BeforeValidator(text)]


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


AlertUrls = Annotated[
    tuple[Annotated[SecretStr, BeforeValidator(alert_url)], ...],
    BeforeValidator(alert_urls),
    PlainSerializer(lambda secrets: [urls.MASK] * len(secrets), when_used="json"),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]


def flag(given: object) -> bool:
    """True or false, also as a text that a form has put in."""
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given in {"true", "false"}:
        return given == "true"
    raise ValueError("must be `true` or `false`.")


Flag = Annotated[bool, BeforeValidator(flag)]
NEVER = "never"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
# APScheduler counts weekdays from Monday = 0, crontab from Sunday = 0 (or 7); names mean the same.
_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NUMBERS = re.compile(r"(?:(?P<first>[0-7])(?:-(?P<last>[0-7]))?|\*)(?:/(?P<step>[1-7]))?")


def at_least(shortest: str) -> AfterValidator:
    """Refuses a shorter duration."""

    def check(value: timedelta) -> timedelta:
        if value < units.parse_duration(shortest):
            raise ValueError(f"must be at least `{shortest}`.")
        return value

    return AfterValidator(check)


def at_most(longest: str) -> AfterValidator:
    """Refuses a longer duration."""

    def check(value: timedelta) -> timedelta:
        if value > units.parse_duration(longest):
            raise ValueError(f"must be at most `{longest}`.")
        return value

    return AfterValidator(check)


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
