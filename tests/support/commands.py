"""The command as people run it, a SQLite source, and a state that a poll has filled."""

import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdc_sync.capture.poll import poll
from cdc_sync.config.load import load_config
from cdc_sync.sync import Sync, open_sync, redaction_of
from tests.support.configs import write_config
from tests.support.warm import command


@dataclass(frozen=True, slots=True)
class Installed:
    """A configuration with its source and state beside it."""

    config: Path

    def run(self, *arguments: str, answer: str | None = None) -> "Ran":
        """The command in a process of its own; with an `answer` on a terminal, else on none."""
        env = {**os.environ, "TZ": "UTC", "SUDO_USER": "anna"}
        with _terminal(answer) as stdin:
            done = command(["--config", str(self.config), *arguments], env=env, stdin=stdin)
        return Ran(done.returncode, done.stdout, done.stderr)

    def source(self, *statements: str) -> None:
        """Changes the source, each statement committed."""
        with closing(sqlite3.connect(self.config.parent / "source.db")) as source:
            for statement in statements:
                source.execute(statement)
                source.commit()

    def state(self, statement: str) -> list[tuple[Any, ...]]:
        """Looks into the state, or prepares it."""
        with closing(sqlite3.connect(self.config.parent / "state.db")) as state, state:
            return state.execute(statement).fetchall()

    @contextmanager
    def open(self) -> Iterator[Sync]:
        """The sync itself, in this process."""
        config = load_config(self.config, os.environ)
        with open_sync(config, redaction_of(config)) as sync:
            yield sync

    def capture(self, *, deliver: bool = False) -> None:
        """One poll, and with `deliver` everything due is PUT."""
        stop = threading.Event()
        with self.open() as sync:
            poll(sync.capture, stop)
            if deliver:
                sync.delivery.drain(stop)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its one JSON document; an AssertionError shows what it said instead."""
        assert self.out, self.err
        return json.loads(self.out)


@contextmanager
def _terminal(answer: str | None) -> Iterator[int]:
    if answer is None:
        yield subprocess.DEVNULL
        return
    ours, theirs = os.openpty()
    os.write(ours, answer.encode())
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def installed(
    folder: Path, api: str, *, watermark: str = "TEXT", **sections: dict[str, Any]
) -> Installed:
    """A source of three good contracts and one without account, and a configuration."""
    there = Installed(write_config(folder / "config.yaml", "sqlite:///source.db", api, **sections))
    there.source(
        "CREATE TABLE contracts (id INTEGER PRIMARY KEY, account_name TEXT, start_date TEXT,"
        f" end_date TEXT, plan TEXT, updated_at {watermark})"
    )
    for number, account in ((1, "ACME"), (2, "Globex"), (3, "Initech"), (4, "")):
        stamp = f"'2026-01-0{number} 12:00:00'" if watermark == "TEXT" else str(number * 100)
        there.source(
            f"INSERT INTO contracts VALUES ({number}, '{account}', '2024-01-01', '2026-12-31',"
            f" 'Gold', {stamp})"
        )
    return there
