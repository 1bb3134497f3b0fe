"""Where a service has its files, and what it is called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.errors import UserMistake

USER = "cdc-sync"
CONFIGS = Path("/etc/cdc-sync")
STATES = Path("/var/lib/cdc-sync")
UNITS = Path("/etc/systemd/system")

_EXPECTED = ("client_secret", "source_password")  # the unit names them, there or not
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Service:
    """The single service, or with a `name` an instance; below `root`: `/`, or that of an image."""

    name: str | None = None
    root: Path = Path("/")

    def __post_init__(self) -> None:
        if self.name is not None and (self.name == "config" or not _NAME.fullmatch(self.name)):
            raise UserMistake(
                f"{self.name} cannot be the name of an instance.",
                mend="Take letters, digits, `_`, `-` and `.`; `config` is the single service's.",
            )

    @property
    def unit(self) -> str:
        """As systemctl calls it."""
        return "cdc-sync" if self.name is None else f"cdc-sync@{self.name}"

    @property
    def unit_file(self) -> Path:
        """What systemd reads; all instances share one."""
        return UNITS / ("cdc-sync.service" if self.name is None else "cdc-sync@.service")

    @property
    def credentials_file(self) -> Path:
        """A drop-in with the secrets that the unit does not name itself."""
        return UNITS / f"{self.unit}.service.d" / "credentials.conf"

    @property
    def config(self) -> Path:
        """The configuration."""
        return CONFIGS / f"{self.name or 'config'}.yaml"

    @property
    def state(self) -> Path:
        """The folder that the service may write to."""
        return STATES if self.name is None else STATES / self.name

    def below_root(self, path: Path) -> Path:
        """Where a path of the system is while it is installed."""
        return self.root / path.relative_to("/")

    def secrets(self) -> list[str]:
        """The files beside the configuration that only their owner may read."""
        folder = self.below_root(CONFIGS)
        if not folder.is_dir():
            return []
        return sorted(f.name for f in folder.iterdir() if self._is_mine(f.name) and _is_private(f))

    def further_secrets(self) -> Sequence[str]:
        """Those of them that the unit does not name itself."""
        prefix = "" if self.name is None else f"{self.name}."
        expected = {f"{prefix}{name}" for name in _EXPECTED}
        return [name for name in self.secrets() if name not in expected]

    def _is_mine(self, file: str) -> bool:
        if self.name is None:
            return "." not in file
        return file.startswith(f"{self.name}.") and not file.endswith(".yaml")


def _is_private(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and not file.stat().st_mode & 0o077
