"""What every command shares: the configuration, the state, and who is asking."""

import os
import pwd
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from cdc_sync.config.model import Config
    from cdc_sync.state.database import Database


@dataclass(frozen=True, slots=True)
class Given:
    """The options before the command."""

    config: Path | None


def config_path(context: typer.Context) -> Path:
    """Where the configuration is. Raises ConfigMistake where there is none."""
    from cdc_sync.config.load import find_config  # pydantic costs 100 ms

    given: Given = context.obj
    return find_config(given.config, os.environ)


def command_with(path: Path) -> str:
    """How a person calls this program so that it finds a configuration there."""
    from cdc_sync.config.load import PLACES, VARIABLE

    known = [*PLACES, Path(os.environ.get(VARIABLE) or PLACES[0])]
    if path.absolute() in {place.absolute() for place in known}:
        return "cdc-sync"
    return f"cdc-sync --config {shlex.quote(str(path))}"


def config_of(context: typer.Context, *, secrets: bool = True) -> "Config":
    """The configuration; without `secrets` for commands that need only the state."""
    from cdc_sync.config.load import load_config

    return load_config(config_path(context), os.environ, secrets=secrets)


@contextmanager
def state_of(context: typer.Context) -> Iterator["Database"]:
    """The state, for a command that may run beside the daemon.

    Its tables are made or upgraded where nobody else is at work on it, else expected to fit.
    Raises StateUnavailable, StateRefused.
    """
    from cdc_sync.state.schema import open_for_command  # SQLAlchemy costs 200 ms

    config = config_of(context, secrets=False)
    with open_for_command(config.state.url.get_secret_value()) as state:
        yield state


def who() -> str:
    """Who is asking, as name@host: behind sudo the person, not root."""
    name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.geteuid()).pw_name
    return f"{name}@{socket.gethostname()}"


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
