"""What every command shares: the configuration, the state, and who is asking."""

import os
import pwd
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from cdc_sync.config.interpolate import Interpolator
from cdc_sync.config.load import PLACES, VARIABLE, find_config, load_config
from cdc_sync.config.model import Config
from cdc_sync.config.urls import POSTGRESQL, SQLITE, normalize_database_url, with_absolute_path
from cdc_sync.errors import UserMistake
from cdc_sync.state.database import Database
from cdc_sync.state.schema import open_for_command


def find_config_file(context: typer.Context) -> Path:
    """Returns the configuration that --config names, or else that of the usual places.

    Raises ConfigMistake where there is none.
    """
    return find_config(context.obj, os.environ)


def read_config(context: typer.Context, *, secrets: bool = True) -> Config:
    """Returns the configuration; without `secrets` for commands that need only the state."""
    return load_config(find_config_file(context), os.environ, secrets=secrets)


def read_config_with_source(context: typer.Context) -> Config:
    """Returns the configuration. Raises ConfigMistake where the source's address is missing."""
    config = read_config(context, secrets=False)
    return config if config.source.url.get_secret_value() else read_config(context)


def read_config_with_client(context: typer.Context) -> Config:
    """Returns the configuration. Raises ConfigMistake where the client id is missing."""
    config = read_config(context, secrets=False)
    return config if config.customergauge.client_id else read_config(context)


def read_state_url(text: str) -> str:
    """Returns the URL of a state that a person typed, with the forms that config.yaml may have.

    Raises UserMistake, without the URL in it.
    """
    folder = Path.cwd()
    try:
        url = with_absolute_path(Interpolator(os.environ, folder).interpolate_url(text), folder)
        return normalize_database_url(url, drivers=(SQLITE, POSTGRESQL))
    except ValueError as error:
        raise UserMistake(f"The URL {error}") from None


@contextmanager
def open_state(context: typer.Context) -> Iterator[Database]:
    """Opens the state for a command that may run beside the daemon.

    Its tables are made or upgraded where nobody else is at work on it, else expected to fit.
    Raises StateUnavailable, StateRefused.
    """
    url = read_config(context, secrets=False).state.url.get_secret_value()
    with open_for_command(url) as state:
        yield state


def configure_quiet_log(config: Config, level: str = "error") -> None:
    """Logs errors alone: what a command prints says the rest."""
    from cdc_sync.log import configure_log
    from cdc_sync.sync import redaction_of

    configure_log(level, "auto", redaction_of(config))


def command_for(path: Path) -> str:
    """Returns how to call this program so that it finds this configuration."""
    known = [*PLACES, Path(os.environ.get(VARIABLE) or PLACES[0])]
    if path.absolute() in {place.absolute() for place in known}:
        return "cdc-sync"
    return f"cdc-sync --config {shlex.quote(str(path))}"


def current_user() -> str:
    """Returns who is asking as name@host: behind sudo the person, not root."""
    name = os.environ.get("SUDO_USER") or _name_of(os.geteuid())
    return f"{name}@{socket.gethostname()}"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run as a number that has no name
        return f"uid {uid}"
