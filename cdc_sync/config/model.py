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
    `model_dump(mode="json")` has them as they would be written, and every secret as `***`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

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
        examples=["postgresql+psycopg://reader:${SOURCE_PASSWORD}@db.example.com/erp"]
    )
    """`postgresql+psycopg://…`, `mysql+pymysql://…`, `mssql+pyodbc://…`, `sqlite:///…` or other."""
    table: fields.PlainText | None = None
    """The table or view, perhaps with its schema: `erp.contracts`, `'"a.b"'`. This or `query`."""
    query: fields.Query | None = None
    """A SELECT to use in place of `table`; its output columns are the columns."""
    id: fields.Columns = Field(examples=["id"])
    """The key: one column, or a list for a composite key."""
    watermark: fields.PlainText = Field(examples=["updated_at"])
    """A timestamp (with or without zone) or integer column that grows with every change."""
    where: fields.PlainText | None = None
    """SQL condition: only rows that meet it are in scope."""
    deleted_when: fields.PlainText | None = None
    """SQL condition: a row that meets it counts as gone (soft delete)."""
    clock_margin: Annotated[fields.Duration, fields.limit("2s")] = timedelta(seconds=10)
    """How far the clock that sets the watermark may run behind the database's; at least 2s."""
    lookback: fields.Lookback = timedelta(minutes=5)
    """Without a horizon: how far the watermark stays behind the source; a number for integers."""
    sweeps: fields.Windows = (timedelta(hours=1), timedelta(days=1))
    """Windows of stamps to read again twelve times each, for what came too late; or `none`."""
    long_transaction: fields.Duration = timedelta(minutes=5)
    """While a transaction is open for longer than this, polls do not read the same rows again."""
    page_size: Annotated[int, Field(ge=1, le=100_000), fields.WHOLE] = 1000
    """Rows per read."""
    time_zone: fields.TimeZone | None = None
    """Zone of a watermark column without one: `Europe/Berlin`. Left out: the database's."""
    notify_channel: fields.PlainText | None = None
    """PostgreSQL only: poll at once on a NOTIFY of this channel, and every `schedule.poll`."""

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

    reference: fields.ReferenceTemplate = Field(examples=["erp-{id}"])
    """The contract's key in CustomerGauge, at most 128 characters; with a prefix per source."""
    account: fields.Template = Field(examples=["account_name"])
    """The account's name, at most 255 characters; it must exist in CustomerGauge."""
    start: fields.Template = Field(examples=["start_date"])
    """The first day."""
    end: fields.Template | None = None
    """The last day; without this key, `end` is left out of every PUT."""
    description: fields.Template | None = None
    """At most 150 characters; without this key, it is left out of every PUT."""
    description_overflow: Literal["truncate", "reject"] = "truncate"
    """What happens to a longer description: truncate it, or reject the contract."""


class CustomerGaugeConfig(Section):
    """The imports API: its address, our OAuth2 client, and how fast requests are sent."""

    region: Literal["eu", "us", "au"] | None = None
    """The platform's region. This, or `base_url` and `token_url`."""
    base_url: fields.HttpUrl | None = None
    """PUT goes to {base_url}/contracts. Overrides `region`. `http://` only for loopback."""
    token_url: fields.HttpUrl | None = None
    """The token endpoint. Overrides `region`."""
    client_id: fields.ClientId = Field(examples=["${CUSTOMERGAUGE_CLIENT_ID}"])
    """The OAuth2 client's id."""
    client_secret: fields.Secret = Field(examples=["${CUSTOMERGAUGE_CLIENT_SECRET}"])
    """The OAuth2 client's secret."""
    rate_limit: fields.RateLimit = Rate(per_second=20)
    """Requests to the imports API, evenly spaced: `20/s`, `90/m` or `none`."""
    concurrency: Annotated[int, Field(ge=1, le=256), fields.WHOLE] = 8
    """PUTs in flight at a time; of one contract never more than one."""
    timeout: Annotated[fields.Duration, fields.limit("1s", "10m")] = timedelta(seconds=30)
    """The time that one request may take as a whole: 1s to 10m."""
    proxy: fields.ProxyUrl = SecretStr("env")
    """The way out: `env` (HTTPS_PROXY, NO_PROXY), `none`, or `http://user:password@host:port`."""
    ca_file: fields.OptionalFile = None
    """A file with CA certificates (PEM) to trust beside those of the system."""
    client_certificate: fields.OptionalFile = None
    """A file with a certificate and its key (PEM), for servers that want one of the client."""
    create_missing_accounts: fields.Flag = False
    """If an account does not exist, PUT it once and then send its contracts."""
    clear_end_with: Literal["null", "empty", "omit"] = "null"
    """What is sent when an end was removed: null, an empty text, or nothing (omit)."""

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

    url: fields.StateUrl = SecretStr("sqlite:////var/lib/cdc-sync/state.db")
    """A SQLite file on a local disk, or `postgresql+psycopg://…` for several machines."""
    history: Annotated[fields.Duration, fields.limit("1s")] = timedelta(days=90)
    """How long runs and the delivery history are kept."""


class ScheduleConfig(Section):
    """When the source is read."""

    poll: Annotated[fields.Duration, fields.limit("1s")] = timedelta(seconds=15)
    """Time between two polls; at least 1s."""
    reconcile: fields.CronOrInterval = "0 3 * * *"
    """When everything is compared: a cron line (UTC), an interval (`6h`), or `never`."""


class DeletesConfig(Section):
    """What happens to a contract whose row is gone from the source."""

    policy: Literal["keep", "end"] = "keep"
    """keep: report it; end: PUT it with the day it was found gone as its end."""


class GuardConfig(Section):
    """Holds a run that would change too many contracts until a person approves it."""

    max_changes: fields.Share = 0.2
    """Share of the known contracts that one run may change without approval; `none`: all."""
    min_contracts: Annotated[int, Field(ge=0), fields.WHOLE] = 100
    """The guard begins once this many contracts are known."""


class WebConfig(Section):
    """The status page, its API and the metrics."""

    listen: fields.Address = "127.0.0.1:8787"
    """Address and port of the page, or `none`."""
    token: fields.OptionalSecret = None
    """Needed to act, and to read from beyond loopback. Make it long and random."""


class AlertsConfig(Section):
    """Whom to tell when a problem lasts."""

    urls: fields.AlertUrls = ()
    """Receivers as Apprise URLs: mail, Slack, Teams, webhook …"""
    after: fields.Duration = timedelta(minutes=10)
    """A problem is reported once it has lasted this long, and again when it is over."""


class LogConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events to log."""
    format: Literal["auto", "console", "json"] = "auto"
    """auto: console on a terminal, JSON otherwise."""
    output: Literal["stderr", "stdout"] = "stderr"
    """Where the daemon's log goes. Commands log to stderr."""


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
