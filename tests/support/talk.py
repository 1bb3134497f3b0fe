"""A command that asks: run on a pseudo terminal of its own, each question answered in turn."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.commands import Ran

PATIENCE = 60.0


def talk(folder: Path, arguments: Sequence[str], answers: Sequence[tuple[str, str]]) -> Ran:
    """Waits for each question, types its answer and Enter; gives all that the terminal showed."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "cdc_sync", *arguments]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "TZ": "UTC", "COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown, place = "", 0
        for question, answer in answers:
            shown = _read_until(ours, shown, question, place)
            place = shown.index(question, place) + len(question)
            os.write(ours, f"{answer}\n".encode())
        shown = _read_until(ours, shown, None, place)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return Ran(code, shown.replace("\r\n", "\n"), "")


def _read_until(terminal: int, shown: str, question: str | None, place: int) -> str:
    """All that was shown until the question comes; without one, until the end."""
    deadline = time.monotonic() + PATIENCE
    while question is None or question not in shown[place:]:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([terminal], [], [], max(0.0, left))
        try:
            more = os.read(terminal, 65536).decode() if ready else ""
        except OSError:  # the command has ended
            more = ""
        if not more:
            assert question is None, f"waited for {question!r} after:\n{shown}"
            return shown
        shown += more
    return shown
