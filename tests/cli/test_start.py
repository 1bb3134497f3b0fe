"""How a command starts: with no more imports than it needs."""

import subprocess
import sys

import pytest

from cdc_sync.cli.app import COMMANDS, click_command
from tests.support.bench import Bench

SERVERS_AND_CLIENTS = {
    "pyreqwest",
    "uvloop",
    "requests",
    "starlette",
    "uvicorn",
    "alembic",
    "apscheduler",
}
FOR_THE_STATE = {
    *SERVERS_AND_CLIENTS,
    "prometheus_client",
    "cdc_sync.source",
    "cdc_sync.capture",
    "structlog",
}
FOR_HELP = {*FOR_THE_STATE, "sqlalchemy", "pydantic", "cdc_sync.config"}


def imported(bench: Bench, *words: str) -> set[str]:
    """The modules that a command has imported when it ends, after it has run."""
    code = (
        "import atexit, sys; from cdc_sync.cli.app import main;"
        " atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        f" sys.argv = ['cdc-sync', '--config', {str(bench.config)!r}, *{list(words)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--help"], FOR_HELP),
        (["status"], FOR_THE_STATE),
        (["contracts", "list"], SERVERS_AND_CLIENTS),
        (["watermark", "show"], SERVERS_AND_CLIENTS),
        (["pause"], SERVERS_AND_CLIENTS),
    ],
    ids=["help", "status", "list", "watermark", "pause"],
)
def test_a_command_imports_what_it_needs(bench: Bench, words: list[str], unneeded: set[str]):
    bench.run("once")

    assert not imported(bench, *words) & unneeded


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_says_of_a_command_what_its_own_help_says(command):
    own = click_command(command).help

    assert command.help == " ".join(own.partition("\n\n")[0].split())
