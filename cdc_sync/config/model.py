"""The sections of config.yaml as frozen values; the JSON Schema is made from them.

What is written in the file as a text (`15s`, `20/s`, `none`) is here the value that it means.
"""

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from cdc_sync.config import fields
from cdc_sync.config.units import Rate
from cdc_sync.config.urls import POSTGRESQL


class Section(BaseModel):
    """Keys that belong together: frozen, and none but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """What is wrong with the choice of keys, in words that go on after the section's name."""
        del given
        return None

    @model_validator(mode="after")
    def _keeps_its_rule(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if broken := self.broken_rule(given):
            raise ValueError(broken)
        return self


class SourceConfig(Section):
    """The database whose contracts are kept true in CustomerGauge. It is only read."""

    url: fields.SourceUrl = Field(
        description="Where the source is: PostgreSQL, MySQL, MariaDB or SQLite.",
        examples=["postgresql+psycopg://reader:${SOURCE_PASSWORD}@db.example.com/erp"],
    )
    table: fields.PlainText | None = Field(
        default=None, description="The table or view; may be schema-qualified. Or `query`."
    )
    query: fields.Query | None = Field(
        default=None,
        description="A SELECT in place of `table`; its output columns are the columns.",
    )
    id: fields.Columns = Field(
        description="The key: one column, or a list for a composite key.", examples=["id"]
    )
    watermark: fields.PlainText = Field(
        description="A timestamp or integer column that grows with every change.",
        examples=["updated_at"],
    )
    where: fields.PlainText | None = Field(
        default=None, description="An SQL condition: only these rows are in scope."
    )
    deleted_when: fields.PlainText | None = Field(
        default=None, description="An SQL condition: such a row counts as gone (soft delete)."
    )
    clock_margin: Annotated[fields.Duration, fields.at_least("2s")] = Field(
        default=timedelta(seconds=10),
        description="How far the watermark's clock may run behind the database's; 2s or more.",
    )
    lookback: fields.Lookback = Field(
        default=timedelta(minutes=5),
        description="How far back to read again without a horizon; a number for integers.",
    )
    long_transaction: fields.Duration = Field(
        default=timedelta(minutes=5),
        description="While a transaction older than this is open, polls read nothing twice.",
    )
    page_size: Annotated[int, Field(ge=1, le=100_000), fields.WHOLE] = Field(
        default=1000, description="Rows of one read."
    )
    time_zone: fields.TimeZone | None = Field(
        default=None, description="Of a watermark without zone; left out: the database's own."
    )
    notify_channel: fields.PlainText | None = Field(
        default=None, description="PostgreSQL: LISTEN on this channel and poll at once."
    )

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """One of `table` and `query`."""
        if {"table", "query"} <= given:
            return "has both `table` and `query`. Keep one of them."
        return None if {"table", "query"} & given else "needs `table` or `query`."

    @model_validator(mode="after")
    def _listens_on_postgresql_alone(self) -> Self:
        url = self.url.get_secret_value()
        if self.notify_channel and url and not url.startswith(POSTGRESQL):
            raise ValueError("has a `notify_channel`, which only PostgreSQL can serve. Remove it.")
        return self


class MappingConfig(Section):
    """What of a row becomes which field: a column's name, or a template with `{column}`."""

    reference: fields.ReferenceTemplate = Field(
        description="What identifies the contract in CustomerGauge; a prefix keeps two sources "
        "apart.",
        examples=["erp-{id}"],
    )
    account: fields.Template = Field(
        description="The account's name; it must exist in CustomerGauge.",
        examples=["account_name"],
    )
    start: fields.Template = Field(description="The first day.", examples=["start_date"])
    end: fields.Template | None = Field(
        default=None, description="The last day; left out here, it is left out of every PUT."
    )
    description: fields.Template | None = Field(
        default=None,
        description="At most 150 characters; left out here, it is left out of every PUT.",
    )
    description_overflow: Literal["truncate", "reject"] = Field(
        default="truncate", description="What happens to a longer description."
    )


class CustomerGaugeConfig(Section):
    """The imports API: where it is, who we are, and how hard it may be worked."""

    region: Literal["eu", "us", "au"] | None = Field(
        default=None, description="The platform's region; or `base_url` and `token_url`."
    )
    base_url: fields.HttpUrl | None = Field(
        default=None, description="PUT goes to {base_url}/contracts; it wins over `region`."
    )
    token_url: fields.HttpUrl | None = Field(
        default=None, description="The token endpoint; it wins over `region`."
    )
    client_id: fields.ClientId = Field(
        description="Of the OAuth2 client.", examples=["${CUSTOMERGAUGE_CLIENT_ID}"]
    )
    client_secret: fields.Secret = Field(
        description="Of the OAuth2 client.", examples=["${CUSTOMERGAUGE_CLIENT_SECRET}"]
    )
    rate_limit: fields.RateLimit = Field(
        default=Rate(per_second=20),
        description="Requests to the imports API: `20/s`, `90/m` or `none`.",
    )
    concurrency: Annotated[int, Field(ge=1, le=256), fields.WHOLE] = Field(
        default=8, description="PUTs under way at a time."
    )
    timeout: Annotated[fields.Duration, fields.at_least("1s"), fields.at_most("10m")] = Field(
        default=timedelta(seconds=30), description="The time that one request may take: 1s to 10m."
    )
    create_missing_accounts: fields.Flag = Field(
        default=False, description="PUT an account that does not exist, and then its contract."
    )
    clear_end_with: Literal["null", "empty", "omit"] = Field(
        default="null",
        description="How an end that was removed is said: null, an empty text, or not.",
    )

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """A region, or both URLs."""
        if "region" in given or {"base_url", "token_url"} <= given:
            return None
        return "needs `region` (`eu`, `us` or `au`), or both `base_url` and `token_url`."

    @property
    def imports_url(self) -> str:
        """Of the imports API, without a slash at its end."""
        return self.base_url or f"https://imports.api.{self.region}.customergauge.com"

    @property
    def token_endpoint(self) -> str:
        """Where a token is asked for."""
        return self.token_url or f"https://auth.{self.region}.customergauge.com/oauth2/token"


class StateConfig(Section):
    """What is known of every contract."""

    url: fields.StateUrl = Field(
        default=SecretStr("sqlite:////var/lib/cdc-sync/state.db"),
        description="A SQLite file, or PostgreSQL for several machines.",
    )
    history: Annotated[fields.Duration, fields.at_least("1s")] = Field(
        default=timedelta(days=90), description="How long runs and the delivery history are kept."
    )


class ScheduleConfig(Section):
    """When the source is read."""

    poll: Annotated[fields.Duration, fields.at_least("1s")] = Field(
        default=timedelta(seconds=15), description="Between two looks for changed rows; 1s or more."
    )
    reconcile: fields.Occasion = Field(
        default="0 3 * * *",
        description="When everything is compared: a cron line (UTC), an interval, or `never`.",
    )


class DeletesConfig(Section):
    """What happens to a contract whose row is gone."""

    policy: Literal["keep", "end"] = Field(
        default="keep",
        description="keep: report only; end: PUT with end = the day it was found gone.",
    )


class GuardConfig(Section):
    """Holds a run that would change too much for a person to approve."""

    max_changes: fields.Share = Field(
        default=0.2,
        description="The share of the known contracts that one run may change, or `none`.",
    )
    min_contracts: Annotated[int, Field(ge=0), fields.WHOLE] = Field(
        default=100, description="The guard begins once so many contracts are known."
    )


class WebConfig(Section):
    """The page, its API and the metrics."""

    listen: fields.Address = Field(
        default="127.0.0.1:8787", description="Address and port of the page, or `none`."
    )
    token: fields.OptionalSecret = Field(
        default=None, description="Needed to act, and to read from beyond loopback."
    )


class AlertsConfig(Section):
    """Whom to tell of a trouble."""

    urls: fields.AlertUrls = Field(
        default=(), description="Apprise URLs: mail, Slack, Teams, webhook …"
    )
    after: fields.Duration = Field(
        default=timedelta(minutes=10), description="A trouble that lasts this long is told once."
    )


class LogConfig(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe event that is logged."
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
