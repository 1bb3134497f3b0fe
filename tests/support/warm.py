"""Commands and daemons as processes of their own, forked from one that has imported everything.

A command pays for its imports once a test run instead of a thousand times; what it does afterwards
is what `python -m cdc_sync` does: own arguments, environment, folder, standard streams, exit code.
"""

import atexit
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

PATIENCE = 60.0  # seconds that a command may take
LIFETIME = 3600  # seconds after which the forking process ends by itself, whoever forgets it
_FDS = 3


class ForkedProcess:
    """A `cdc-sync` that was forked; of subprocess.Popen what tests need."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        streams: Sequence[int | IO[str]],
        cwd: Path | None = None,
    ) -> None:
        """Starts it with these arguments and standard streams."""
        asked = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd or Path.cwd())}
        message = json.dumps(asked).encode()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(PATIENCE)
        self._line.connect(_forking())
        fds = [one if isinstance(one, int) else one.fileno() for one in streams]
        socket.send_fds(self._line, [len(message).to_bytes(4, "big")], fds)
        self._line.sendall(message)
        self.arguments = list(arguments)
        self.pid = _number(self._line)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code; None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait(PATIENCE)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = _number(self._line)
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.arguments, timeout) from None
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


def command(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | IO[str] = subprocess.DEVNULL,
) -> "subprocess.CompletedProcess[str]":
    """Runs `cdc-sync` with these arguments. Raises subprocess.TimeoutExpired after PATIENCE."""
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        Path(os.devnull).open() as nothing,
    ):
        given = nothing if stdin == subprocess.DEVNULL else stdin
        process = ForkedProcess(arguments, env, (given, out, err), cwd)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


@lru_cache(maxsize=1)
def _forking() -> str:
    """The address of the process that forks, one a test process."""
    folder = tempfile.TemporaryDirectory(prefix="cdc-sync-warm-")
    address = f"{folder.name}/socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.support.warm", address])
    atexit.register(folder.cleanup)
    atexit.register(process.wait)
    atexit.register(process.kill)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as line:
            if line.connect_ex(address) == 0:
                return address
        time.sleep(0.01)
    raise RuntimeError("the process that forks commands does not answer")


def _number(line: socket.socket) -> int:
    return int.from_bytes(_bytes(line, 4), "big", signed=True)


def _bytes(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := line.recv(count - len(data))):
        data += more
    return data


def _import_everything() -> None:
    package = importlib.import_module("cdc_sync")
    for module in pkgutil.walk_packages(package.__path__, "cdc_sync."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _serve(address: str) -> None:
    """Forks for each connection, and returns in the fork that is a command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
        while True:
            line, _ = listener.accept()
            with line:
                if os.fork() == 0 and _is_command(line):
                    return


def _is_command(line: socket.socket) -> bool:
    """True in a process that is the command; the one that has forked it reports and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, fds, _, _ = socket.recv_fds(line, 4, _FDS)
    if not size:
        os._exit(0)
    asked = json.loads(_bytes(line, int.from_bytes(size, "big")))
    if pid := os.fork():
        line.sendall(pid.to_bytes(4, "big"))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        line.sendall(code.to_bytes(4, "big", signed=True))
        os._exit(0)
    _become(asked["arguments"], asked["env"], asked["cwd"], fds)
    return True


def _become(arguments: Sequence[str], env: Mapping[str, str], cwd: str, fds: list[int]) -> None:
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.argv = ["cdc-sync", *arguments]
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")


if __name__ == "__main__":
    signal.alarm(LIFETIME)
    _import_everything()
    _serve(sys.argv[1])
    from cdc_sync.cli.app import main

    main()
