"""MariaDB servers of a test's own, to pair, to kill and to start in another time zone."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.wait import wait_until

# What makes a server start within a second; nothing that it holds has to last.
_SMALL = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M"]
_AS_ROOT = ["--user=root"] if os.getuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class MariaDBServer:
    """A server on a port and in a folder of its own, with one empty database."""

    folder: Path
    options: tuple[str, ...] = ()
    zone: str = "UTC"
    port: int = field(default_factory=_free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of its database, for root."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/erp"

    def start(self) -> None:
        """Starts it in its time zone and waits until it answers."""
        command = [
            *("mariadbd", "--no-defaults", *_AS_ROOT, *_SMALL, *self.options),
            *(f"--datadir={self.folder}", "--socket=socket"),
            *(f"--port={self.port}", "--bind-address=127.0.0.1", f"--server-id={self.port}"),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "TZ": self.zone}
            )
        wait_until(self._answers, "the server answers")
        self.execute("CREATE DATABASE IF NOT EXISTS erp")

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def connect(self) -> Any:
        """A session of root, in which nothing is committed by itself."""
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root")

    def execute(self, *statements: str) -> None:
        """Executes statements in a session of their own."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.OperationalError:
            return False
        return True


@contextmanager
def mariadb_server(folder: Path, *options: str, zone: str = "UTC") -> Iterator[MariaDBServer]:
    """A server that is killed at the end; the test is skipped where none is installed."""
    if shutil.which("mariadbd") is None and not os.environ.get("CI"):
        pytest.skip("mariadbd is not installed")
    made = subprocess.run(
        [
            *("mariadb-install-db", "--no-defaults", *_AS_ROOT, *_SMALL, f"--datadir={folder}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        ],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode()
    server = MariaDBServer(folder, options, zone)
    try:
        server.start()
        yield server
    finally:
        server.kill()
