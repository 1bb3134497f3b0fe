"""What a container needs of the program: its first process, its log on stdout, a silent status."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdc_sync.cli.context import current_user
from tests.support.bench import Bench
from tests.support.wait import wait_until

ENDS_WITHIN = 20  # seconds
NAMELESS = 54321  # a user id that /etc/passwd does not have


def program(bench: Bench, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cdc_sync", "--config", str(bench.config), *arguments]


@contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose output is in the files `out` and `err` of the folder; killed at the end."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            yield process
        finally:
            process.kill()
            process.wait(ENDS_WITHIN)


def events(file: Path) -> list[str]:
    """The events of a log so far; every line of it is a JSON document."""
    whole = file.read_text().rpartition("\n")[0]
    return [json.loads(line)["event"] for line in whole.splitlines()]


@contextmanager
def first_process(
    command: Sequence[str], folder: Path
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """The command as the first process of a PID namespace: its id here, and what ends with it."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        if os.environ.get("CI"):
            pytest.fail("no PID namespace can be made")
        pytest.skip("no PID namespace can be made")
    with started([*unshare, *command], folder) as process:
        wait_until(lambda: children(process.pid), "the namespace has a first process")
        (first,) = children(process.pid)
        yield first, process


def children(pid: int) -> list[int]:
    """The processes that this one would have to wait for, those that have ended too."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(number) for number in text.split()]


def test_the_daemon_logs_json_to_stdout_if_told_so(fresh: Bench, tmp_path: Path) -> None:
    fresh.configure(log={"output": "stdout"})
    with started(program(fresh, "run"), tmp_path) as process:
        wait_until(lambda: "daemon.started" in events(tmp_path / "out"), "it runs")
        process.terminate()
        assert process.wait(ENDS_WITHIN) == 0

    assert events(tmp_path / "out")[-1] == "daemon.stopped"
    assert (tmp_path / "err").read_text() == ""


def test_a_report_on_stdout_stays_one_document_wherever_the_log_goes(fresh: Bench) -> None:
    fresh.configure(log={"output": "stdout", "level": "debug"})
    ran = fresh.run("once", "--json")

    assert ran.document["created"] == 3


def test_a_quiet_status_says_by_its_exit_code_alone_whether_all_is_well(fresh: Bench) -> None:
    fresh.run("once")
    ill = fresh.run("status", "--quiet")
    fresh.source("DELETE FROM contracts WHERE account_name = ''")
    fresh.run("reconcile")
    well = fresh.run("status", "--quiet")

    assert (ill.code, ill.out, ill.err) == (1, "", "")
    assert (well.code, well.out, well.err) == (0, "", "")


def test_as_the_first_process_the_daemon_ends_well_and_leaves_no_dead_orphans(
    fresh: Bench, tmp_path: Path
) -> None:
    fresh.configure(log={"output": "stdout"})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    shell = f'(cat {pipe} &) ; exec "$0" "$@"'
    with first_process(["sh", "-c", shell, *program(fresh, "run")], tmp_path) as (first, outside):
        wait_until(lambda: "daemon.started" in events(tmp_path / "out"), "it runs")
        pipe.write_text("")
        wait_until(lambda: children(first) == [], "the orphan is gone")
        os.kill(first, signal.SIGTERM)
        assert outside.wait(ENDS_WITHIN) == 0

    assert events(tmp_path / "out")[-1] == "daemon.stopped"


def test_as_the_first_process_a_command_that_waits_can_be_stopped(
    fresh: Bench, tmp_path: Path
) -> None:
    with first_process(program(fresh, "status", "--watch"), tmp_path) as (first, outside):
        wait_until(lambda: "WELL" in (tmp_path / "out").read_text(), "it has begun")
        os.kill(first, signal.SIGTERM)
        assert outside.wait(ENDS_WITHIN) == 128 + signal.SIGTERM


def test_a_user_without_a_name_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: NAMELESS)

    assert current_user() == f"uid {NAMELESS}@{socket.gethostname()}"
