"""The configuration for commands that need one of its secrets, and no other."""

from typing import TYPE_CHECKING

import typer

from cdc_sync.cli.context import config_of

if TYPE_CHECKING:
    from cdc_sync.config.model import Config


def config_with_source(context: typer.Context) -> "Config":
    """The configuration with the source's address. Raises ConfigMistake where that is missing."""
    config = config_of(context, secrets=False)
    return config if config.source.url.get_secret_value() else config_of(context)


def config_with_client(context: typer.Context) -> "Config":
    """The configuration with the client id. Raises ConfigMistake where that is missing."""
    config = config_of(context, secrets=False)
    return config if config.customergauge.client_id else config_of(context)
