"""The kinds of values in config.yaml: how each is read, shown, and described in the schema."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)

from cdc_sync.config import readers, units, urls


def _read_by(parse: Callable[[str], Any], kind: type, wanted: str) -> BeforeValidator:
    """Reads texts with `parse`, and lets through what is already the value."""

    def read(given: object) -> object:
        if isinstance(given, str):
            return parse(given)
        if isinstance(given, kind) or given is None:
            return given
        raise ValueError(f"must be {wanted}.")

    return BeforeValidator(read)


def _shown_by(show: Callable[[Any], str]) -> PlainSerializer:
    return PlainSerializer(show, return_type=str, when_used="json")


def _text_schema(pattern: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", **more})


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


def _database_url(*drivers: str) -> BeforeValidator:
    def read(given: object) -> SecretStr:
        text = given.get_secret_value() if isinstance(given, SecretStr) else readers.text(given)
        # Empty is what load_config leaves where a command runs without the secrets.
        return SecretStr(urls.database_url(str(text), drivers=drivers) if text else "")

    return BeforeValidator(read)


def _mask(_: object) -> str:
    return urls.MASK


def _mask_if_any(secret: SecretStr | None) -> str | None:
    return None if secret is None else urls.MASK


def _mask_url(secret: SecretStr) -> str:
    return urls.masked(secret.get_secret_value())


WHOLE = BeforeValidator(readers.whole)  # a number of YAML, or one that a form has put in as text

PlainText = Annotated[str, BeforeValidator(readers.text), Field(min_length=1)]
Query = Annotated[PlainText, AfterValidator(readers.without_semicolon)]
ClientId = Annotated[str, BeforeValidator(readers.text)]
Secret = Annotated[SecretStr, BeforeValidator(readers.text), _shown_by(_mask), _text_schema(".+")]
OptionalSecret = Annotated[
    SecretStr | None,
    BeforeValidator(readers.text),
    PlainSerializer(_mask_if_any, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
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
    AfterValidator(urls.http_url),
    BeforeValidator(readers.text),
    WithJsonSchema({"type": "string", "pattern": "^https?://"}),
]
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
Share = Annotated[
    float | None,
    BeforeValidator(readers.share),
    _shown_by(units.format_share),
    _text_schema(f"{units.SHARE_PATTERN}|{units.OFF}"),
]
Lookback = Annotated[
    timedelta | int,
    BeforeValidator(readers.lookback),
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
Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(readers.columns),
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
Address = Annotated[
    str | None,
    BeforeValidator(readers.address),
    _shown_by(lambda address: address or units.OFF),
    WithJsonSchema({"type": "string"}),
]
TimeZone = Annotated[str, AfterValidator(readers.time_zone), BeforeValidator(readers.text)]
Template = Annotated[
    str, AfterValidator(readers.template), BeforeValidator(readers.text), Field(min_length=1)
]
ReferenceTemplate = Annotated[Template, AfterValidator(readers.reference_template)]
Occasion = Annotated[str, AfterValidator(readers.occasion), BeforeValidator(readers.text)]
AlertUrls = Annotated[
    tuple[Annotated[SecretStr, BeforeValidator(readers.alert_url)], ...],
    BeforeValidator(readers.alert_urls),
    PlainSerializer(lambda secrets: [urls.MASK] * len(secrets), when_used="json"),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
Flag = Annotated[bool, BeforeValidator(readers.flag)]
