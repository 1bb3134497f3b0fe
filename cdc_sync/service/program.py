"""Which program the service runs, and whether its sandbox leaves that program to be seen."""

import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from cdc_sync.errors import UserMistake

# What ProtectHome= and PrivateTmp= hide.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-@")


def this_program() -> Path:
    """The command of the installation that runs now. Raises UserMistake where it has none."""
    program = Path(sysconfig.get_path("scripts")) / "cdc-sync"
    if not program.is_file():
        raise UserMistake(
            f"This installation has no command {program}.", mend="Install the package again."
        )
    return program


def parts_of(program: Path) -> list[Path]:
    """What must be seen for it to run: itself, its interpreter, the libraries, links resolved."""
    parts = [program, Path(sys.executable), Path(sys.base_prefix), Path(__file__)]
    return [*parts, *(part.resolve() for part in parts)]


def expect_runnable(parts: Iterable[Path]) -> None:
    """Raises UserMistake, with the mend, for a part that the service would not find."""
    for part in parts:
        if any(part.is_relative_to(folder) for folder in _HIDDEN):
            raise UserMistake(
                f"The service cannot run {part}: home and temporary folders are hidden from it"
                " (203/EXEC).",
                mend="Install into a virtual environment in /opt, with the system's Python:"
                " /usr/bin/python3 -m venv /opt/cdc-sync && /opt/cdc-sync/bin/pip install cdc-sync",
            )
        if not _PLAIN.issuperset(str(part)):
            raise UserMistake(
                f"The service cannot run {part}: its path has characters that a unit would quote.",
                mend="Install into /opt/cdc-sync.",
            )
