"""Commands as people run them."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.warm import command


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


def run_command(arguments: Sequence[str], answer: str | None = None) -> Ran:
    """Runs `cdc-sync` as a process; with an `answer` on a terminal, else on none."""
    env = {**os.environ, "TZ": "UTC", "SUDO_USER": "anna"}
    with _terminal(answer) as stdin:
        done = command(arguments, env=env, stdin=stdin)
    return Ran(done.returncode, done.stdout, done.stderr)


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
