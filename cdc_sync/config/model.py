"""Defines the sections and keys of config.yaml; the JSON Schema and the docs are made from them.

What is a text in the file (`15s`, `20/s`, `none`) is here the value that it means.
"""

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticUseDefault

from cdc_sync.config import fields
from cdc_sync.config.units import Rate
from cdc_sync.config.urls import POSTGRESQL


class Section(BaseModel):
    """Keys that belong together: frozen, and none but its own.

    The context of a validation is an `Interpolator` where the values are those of a file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """Returns what is wrong with the choice of keys, to follow the section's name."""
        del given
        return None

    @field_validator("*", mode="before")
    @classmethod
    def _resolve(cls, given: object, info: ValidationInfo) -> object:
        """Resolves the forms of a value; a key without a value is as if left out."""
        if info.context is None:
            return given
        field = cls.model_fields[str(info.field_name)]
        value = fields.resolve_forms(given, info.context, field.metadata)
        if value is not None:
            return value
        if not field.is_required():
            raise PydanticUseDefault
        if fields.Key.SECRET in field.metadata and not info.context.secrets:
            return ""
        raise PydanticCustomError("missing", "no value", {"present": True})

    @model_validator(mode="after")
    def _check_rule(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if broken := self.broken_rule(given):
            raise ValueError(broken)
        return self


class SourceConfig(Section):
    """The database whose contracts are kept in sync with CustomerGauge. It is only read."""

    url: fields.SourceUrl = Field(
        description="`postgresql+psycopg://…`, `mysql+pymysql://…` (also MariaDB) or "
        "`sqlite:///FILE`.",
        examples=["postgresql+psycopg://reader:${SOURCE_PASSWORD}@db.example.com/erp"],
    )
    table: fields.PlainText | None = Field(
        default=None,
        description="The table or view, with its schema if needed: `erp.contracts`. This or "
        "`query`.",
    )
    query: fields.Query | None = Field(
        default=None,
        description="A SELECT to use in place of `table`; its output columns are the columns.",
    )
    id: fields.Columns = Field(
        description="The key: one column, or a list for a composite key.", examples=["id"]
    )
    watermark: fields.PlainText = Field(
        description="A timestamp (with or without zone) or integer column that grows with every "
        "change.",
        examples=["updated_at"],
    )
    where: fields.PlainText | None = Field(
        default=None, description="SQL condition: only rows that meet it are in scope."
    )
    deleted_when: fields.PlainText | None = Field(
        default=None, description="SQL condition: a row that meets it counts as gone (soft delete)."
    )
    clock_margin: Annotated[fields.Duration, fields.limit("2s")] = Field(
        default=timedelta(seconds=10),
        description="How far the clock that sets the watermark may run behind the database's; at "
        "least 2s.",
    )
    lookback: fields.Lookback = Field(
        default=timedelta(minutes=5),
        description="Without a horizon: how far the watermark stays behind the source; a number "
        "for integers.",
    )
    long_transaction: fields.Duration = Field(
        default=timedelta(minutes=5),
        description="While a transaction is open for longer than this, polls do not read the same "
        "rows again.",
    )
    page_size: Annotated[int, Field(ge=1, le=100_000), fields.WHOLE] = Field(
        default=1000, description="Rows per read."
    )
    time_zone: fields.TimeZone | None = Field(
        default=None,
        description="Zone of a watermark column without one: `Europe/Berlin`. Left out: the "
        "database's.",
    )
    notify_channel: fields.PlainText | None = Field(
        default=None,
        description="PostgreSQL only: poll at once on a NOTIFY of this channel, and every "
        "`schedule.poll`.",
    )

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """Wants one of `table` and `query`."""
        if {"table", "query"} <= given:
            return "has both `table` and `query`. Keep one of them."
        return None if {"table", "query"} & given else "needs `table` or `query`."

    @model_validator(mode="after")
    def _check_notify_channel(self) -> Self:
        url = self.url.get_secret_value()
        if self.notify_channel and url and not url.startswith(POSTGRESQL):
            raise ValueError("has a `notify_channel`, which only PostgreSQL can serve. Remove it.")
        return self


class MappingConfig(Section):
    """Where each field comes from: a column's name, or a template with `{column}`."""

    reference: fields.ReferenceTemplate = Field(
        description="The contract's key in CustomerGauge, at most 128 characters; with a prefix "
        "for each source.",
        examples=["erp-{id}"],
    )
    account: fields.Template = Field(
        description="The account's name, at most 255 characters; it must exist in CustomerGauge.",
        examples=["account_name"],
    )
    start: fields.Template = Field(description="The first day.", examples=["start_date"])
    end: fields.Template | None = Field(
        default=None, description="The last day; without this key, `end` is left out of every PUT."
    )
    description: fields.Template | None = Field(
        default=None,
        description="At most 150 characters; without this key, it is left out of every PUT.",
    )
    description_overflow: Literal["truncate", "reject"] = Field(
        default="truncate",
        description="What happens to a longer description: truncate it, or reject the contract.",
    )


class CustomerGaugeConfig(Section):
    """The imports API: its address, our OAuth2 client, and how fast requests are sent."""

    region: Literal["eu", "us", "au"] | None = Field(
        default=None, description="The platform's region. This, or `base_url` and `token_url`."
    )
    base_url: fields.HttpUrl | None = Field(
        default=None,
        description="PUT goes to {base_url}/contracts. Overrides `region`. `http://` only for "
        "loopback.",
    )
    token_url: fields.HttpUrl | None = Field(
        default=None, description="The token endpoint. Overrides `region`."
    )
    client_id: fields.ClientId = Field(
        description="The OAuth2 client's id.", examples=["${CUSTOMERGAUGE_CLIENT_ID}"]
    )
    client_secret: fields.Secret = Field(
        description="The OAuth2 client's secret.", examples=["${CUSTOMERGAUGE_CLIENT_SECRET}"]
    )
    rate_limit: fields.RateLimit = Field(
        default=Rate(per_second=20),
        description="Requests to the imports API, evenly spaced: `20/s`, `90/m` or `none`.",
    )
    concurrency: Annotated[int, Field(ge=1, le=256), fields.WHOLE] = Field(
        default=8, description="PUTs in flight at a time; of one contract never more than one."
    )
    timeout: Annotated[fields.Duration, fields.limit("1s", "10m")] = Field(
        default=timedelta(seconds=30),
        description="The time that one request may take as a whole: 1s to 10m.",
    )
    create_missing_accounts: fields.Flag = Field(
        default=False,
        description="If an account does not exist, PUT it once and then send its contracts.",
    )
    clear_end_with: Literal["null", "empty", "omit"] = Field(
        default="null",
        description="What is sent when an end was removed: null, an empty text, or nothing (omit).",
    )

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """Wants a region, or both URLs."""
        if "region" in given or {"base_url", "token_url"} <= given:
            return None
        return "needs `region` (`eu`, `us` or `au`), or both `base_url` and `token_url`."

    @property
    def imports_url(self) -> str:
        """The URL of the imports API, without a slash at its end."""
        return self.base_url or f"https://imports.api.{self.region}.customergauge.com"

    @property
    def token_endpoint(self) -> str:
        """The URL of the token endpoint."""
        return self.token_url or f"https://auth.{self.region}.customergauge.com/oauth2/token"


class StateConfig(Section):
    """Where the knowledge about every contract is stored."""

    url: fields.StateUrl = Field(
        default=SecretStr("sqlite:////var/lib/cdc-sync/state.db"),
        description="A SQLite file on a local disk, or `postgresql+psycopg://…` for several "
        "machines.",
    )
    history: Annotated[fields.Duration, fields.limit("1s")] = Field(
        default=timedelta(days=90), description="How long runs and the delivery history are kept."
    )


class ScheduleConfig(Section):
    """When the source is read."""

    poll: Annotated[fields.Duration, fields.limit("1s")] = Field(
        default=timedelta(seconds=15), description="Time between two polls; at least 1s."
    )
    reconcile: fields.CronOrInterval = Field(
        default="0 3 * * *",
        description="When everything is compared: a cron line (UTC), an interval (`6h`), or "
        "`never`.",
    )


class DeletesConfig(Section):
    """What happens to a contract whose row is gone from the source."""

    policy: Literal["keep", "end"] = Field(
        default="keep",
        description="keep: report it; end: PUT it with the day it was found gone as its end.",
    )


class GuardConfig(Section):
    """Holds a run that would change too many contracts until a person approves it."""

    max_changes: fields.Share = Field(
        default=0.2,
        description="Share of the known contracts that one run may change without approval; "
        "`none`: all.",
    )
    min_contracts: Annotated[int, Field(ge=0), fields.WHOLE] = Field(
        default=100, description="The guard begins once this many contracts are known."
    )


class WebConfig(Section):
    """The status page, its API and the metrics."""

    listen: fields.Address = Field(
        default="127.0.0.1:8787", description="Address and port of the page, or `none`."
    )
    token: fields.OptionalSecret = Field(
        default=None,
        description="Needed to act, and to read from beyond loopback. Make it long and random.",
    )


class AlertsConfig(Section):
    """Whom to tell when a problem lasts."""

    urls: fields.AlertUrls = Field(
        default=(), description="Receivers as Apprise URLs: mail, Slack, Teams, webhook …"
    )
    after: fields.Duration = Field(
        default=timedelta(minutes=10),
        description="A problem is reported once it has lasted this long, and again when it is "
        "over.",
    )


class LogConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe events to log."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, JSON otherwise."
    )


class Config(Section):
    """The whole of config.yaml."""

    source: SourceConfig
    mapping: MappingConfig
    customergauge: CustomerGaugeConfig
    state: StateConfig = StateConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    deletes: DeletesConfig = DeletesConfig()
    guard: GuardConfig = GuardConfig()
    web: WebConfig = WebConfig()
    alerts: AlertsConfig = AlertsConfig()
    log: LogConfig = LogConfig()
