"""cdc-sync as a service of a real systemd: installed, started, and looked at."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support.bench import NOW, Bench
from tests.support.sandbox import Sandbox
from tests.support.systemd import Lab
from tests.support.wait import wait_until

COMMAND = "/opt/cdc-sync/bin/cdc-sync"


class Service:
    """A service with a source, a configuration and a secret of its own."""

    def __init__(self, lab: Lab, sandbox: Sandbox, name: str | None) -> None:
        self.lab = lab
        self.name = name
        self.unit = "cdc-sync" if name is None else f"cdc-sync@{name}"
        self.config = f"/etc/cdc-sync/{name or 'config'}.yaml"
        self.state = f"/var/lib/cdc-sync/{f'{name}/' if name else ''}state.db"
        self._secret = f"{f'{name}.' if name else ''}client_secret"
        self._log = f"/run/lab/{self.unit}.log"
        self._folder = lab.path(f"/opt/source/{self.unit}")
        self._folder.mkdir()
        self._source = Bench.with_contracts(self._folder, sandbox, schedule={"poll": "1s"})
        self._configure()

    def _configure(self) -> None:
        document = json.loads(self._source.config.read_text())
        document["source"]["url"] = f"sqlite:////opt/source/{self.unit}/source.db"
        document["state"]["url"] = f"sqlite:///{self.state}"
        folder = "${CREDENTIALS_DIRECTORY:-/etc/cdc-sync}"
        document["customergauge"]["timeout"] = "2s"
        document["customergauge"]["client_secret"] = f"${{file:{folder}/{self._secret}}}"
        path = self.lab.path(self.config)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document, indent=1))
        secret = path.with_name(self._secret)
        secret.write_text("sandbox\n")
        secret.chmod(0o600)

    def edit(self, **sections: dict[str, Any]) -> None:
        """Changes keys of its configuration."""
        path = self.lab.path(self.config)
        document = json.loads(path.read_text())
        for section, keys in sections.items():
            document[section] = {**document.get(section, {}), **keys}
        path.write_text(json.dumps(document, indent=1))

    def drop_in(self, lines: Sequence[str]) -> None:
        """Its log goes to a file, with how each of its processes ended; and these lines."""
        folder = self.lab.path(f"/etc/systemd/system/{self.unit}.service.d")
        folder.mkdir(exist_ok=True)
        said = "ExecStopPost=/bin/sh -c 'echo ended: $SERVICE_RESULT >&2'"
        own = ["[Service]", "RestartSec=100ms", f"StandardError=append:{self._log}", said]
        (folder / "test.conf").write_text("\n".join([*own, *lines, ""]))

    def cdc_sync(self, *arguments: str) -> str:
        """What a command of root's says."""
        done = self.lab.run(COMMAND, "--config", self.config, *arguments)
        return done.stdout + done.stderr

    def install(self, verb: str = "install") -> str:
        """`service install`, or another verb, for this one; what it says."""
        done = self.lab.run(COMMAND, "service", verb, *([self.name] if self.name else []))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Starts it, until it has delivered its source."""
        started = self.lab.systemctl("start", self.unit)
        assert started.returncode == 0, started.stderr + self.log()
        wait_until(self.is_synced, "the source is delivered", 30)

    def shows(self, field: str) -> str:
        """One property of the unit."""
        return self.lab.shows(self.unit, field)

    def log(self) -> str:
        """What it has logged, and how its processes ended."""
        path = self.lab.path(self._log)
        return path.read_text() if path.exists() else ""

    def change(self, plan: str) -> None:
        """Changes every contract in the source."""
        self._source.source(f"UPDATE contracts SET plan = '{plan}', updated_at = {NOW}")

    def counts(self) -> dict[str, int]:
        """How many contracts have which status."""
        path = self.lab.path(self.state)
        if not path.exists():
            return {}
        with closing(sqlite3.connect(path)) as state:
            try:
                return dict(state.execute("SELECT status, count(*) FROM contract GROUP BY status"))
            except sqlite3.OperationalError:  # its tables are not made yet
                return {}

    def is_synced(self) -> bool:
        """Whether all that is right in the source is delivered."""
        return self.counts() == {"synced": 3, "rejected": 1}

    def remove(self) -> None:
        """Ends it, whatever it does, and removes all that is its own."""
        self.lab.systemctl("kill", "-s", "KILL", self.unit)
        self.lab.systemctl("disable", "--now", self.unit)
        shutil.rmtree(self._folder)
        shutil.rmtree(self.lab.path(self.state).parent, ignore_errors=True)
        shutil.rmtree(self.lab.path(f"/etc/systemd/system/{self.unit}.service.d"))
        self.lab.path(self.config).unlink()
        self.lab.path(self._log).unlink(missing_ok=True)


def owner(path: Path) -> int:
    """The number of the user that a file belongs to."""
    return path.stat().st_uid


@contextmanager
def kept_service(
    lab: Lab, sandbox: Sandbox, name: str | None, lines: Sequence[str] = ()
) -> Iterator[Service]:
    """A service that can be started, with these lines in its unit; removed at the end."""
    service = Service(lab, sandbox, name)
    try:
        if lab.systemctl("cat", service.unit).returncode != 0:
            service.install()
        service.drop_in(lines)
        lab.systemctl("daemon-reload")
        yield service
    finally:
        service.remove()
