"""Changes a machine, or the image of one: files, their owners, the user, and systemd's units."""

import os
import pwd
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cdc_sync.errors import CdcSyncError, UserMistake
from cdc_sync.files import give_folder
from cdc_sync.setup.files import write_whole

_EXPOSURE = re.compile(r"exposure level for \S+: ([\d.]+)")
# What ProtectHome= and PrivateTmp= hide.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-@")


class Owner(NamedTuple):
    """The numbers of a user and a group."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Host:
    """A machine, or the image of one below `root`; a `dry` one is looked at and not changed.

    All paths are those that the running system has.
    """

    root: Path = Path("/")
    dry: bool = False

    def path(self, path: Path) -> Path:
        """Returns where a path of the system is while it is installed."""
        return self.root / path.relative_to("/")

    def read(self, path: Path) -> str | None:
        """Returns the text of a file; None where there is none. Raises UserMistake for no text."""
        file = self.path(path)
        try:
            return file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UserMistake(f"{file} cannot be read ({why}).", hint="Move it away.") from None

    def write(self, path: Path, text: str, mode: int = 0o644) -> str:
        """Writes a file; returns `written`, `updated` or `unchanged`."""
        before = self.read(path)
        if before == text:
            return "unchanged"
        if not self.dry:
            write_whole(self.path(path), text, mode)
        return "written" if before is None else "updated"

    def remove(self, path: Path, is_own: Callable[[str], bool]) -> str | None:
        """Removes a file whose text is ours, and its folder if that is empty then.

        Returns `removed`, or why it was not; None where there is no such file.
        """
        text = self.read(path)
        if text is None:
            return None
        if not is_own(text):
            return "kept: it was changed, or written by somebody else"
        if not self.dry:
            self.path(path).unlink()
            self.remove_if_empty(path.parent)
        return "removed"

    def remove_if_empty(self, folder: Path) -> bool:
        """Removes a folder with nothing in it; returns whether it is gone."""
        try:
            self.path(folder).rmdir()
        except OSError:
            return not self.path(folder).exists()
        return True

    def give(self, path: Path, owner: Owner, mode: int) -> bool:
        """Sets a path's owner and mode; returns whether anything was another."""
        file = self.path(path)
        known = file.stat()
        if (known.st_uid, known.st_gid, known.st_mode & 0o7777) == (*owner, mode):
            return False
        os.chown(file, *owner)
        file.chmod(mode)
        return True

    def give_folder(self, folder: Path, owner: Owner, mode: int) -> bool:
        """Sets a folder's owner and mode, and the owner of all in it; returns whether it changed.

        Raises UserMistake where the folder is a link.
        """
        try:
            return give_folder(self.path(folder), *owner, mode)
        except OSError as error:
            raise UserMistake(
                f"{self.path(folder)} cannot be the state folder: {error.strerror}.",
                hint="It must be a folder, and no link: move away what is there.",
            ) from None

    def find_owner(self, user: str) -> Owner | None:
        """Returns the numbers of a user; None where there is no such user yet."""
        if self.root == Path("/"):
            try:
                known = pwd.getpwnam(user)
            except KeyError:
                return None
            return Owner(known.pw_uid, known.pw_gid)
        lines = (self.read(Path("/etc/passwd")) or "").splitlines()
        fields = [found for found in (line.split(":") for line in lines) if found[0] == user]
        return Owner(int(fields[0][2]), int(fields[0][3])) if fields else None

    def make_users(self, sysusers: str) -> None:
        """Makes the users of a sysusers.d text. Raises CdcSyncError where that does not work."""
        self.path(Path("/etc")).mkdir(parents=True, exist_ok=True)
        _run("systemd-sysusers", f"--root={self.root}", "-", given=sysusers)

    def measure_exposure(self, unit: Path) -> str | None:
        """Returns what `systemd-analyze security` gives a unit, from 0 to 10; None if nothing."""
        try:
            rating = _run("systemd-analyze", "security", "--offline=yes", str(self.path(unit)))
        except CdcSyncError:
            return None
        found = _EXPOSURE.search(rating)
        return found[1] if found else None

    def reload_units(self) -> None:
        """Has a running systemd read its units again."""
        if self._is_running() and not self.dry:
            _run("systemctl", "daemon-reload")

    def disable(self, unit: str) -> None:
        """Stops the unit where systemd runs, and no longer starts it at boot."""
        if self.dry:
            return
        where = ["disable", "--now"] if self._is_running() else [f"--root={self.root}", "disable"]
        _run("systemctl", *where, unit)

    def runs(self, unit: str) -> bool:
        """Whether the unit is active, or tries to be."""
        return self._is_running() and _state_of(unit) in ("active", "activating", "reloading")

    def _is_running(self) -> bool:
        return self.root == Path("/") and Path("/run/systemd/system").is_dir()


def _state_of(unit: str) -> str:
    asked = ["systemctl", "is-active", unit]  # its exit code says the same, and is no failure
    done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def _run(program: str, *arguments: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # programs of systemd, with paths of ours
            [program, *arguments], input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UserMistake(
            f"There is no {program} here.", hint="This needs a system with systemd."
        ) from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise CdcSyncError(f"{program} {arguments[0]} does not work: {why}")
    return done.stdout


def this_program() -> Path:
    """Returns the command of the running installation. Raises UserMistake where it has none."""
    program = Path(sysconfig.get_path("scripts")) / "cdc-sync"
    if not program.is_file():
        raise UserMistake(
            f"This installation has no command {program}.", hint="Install the package again."
        )
    return program


def parts_of(program: Path) -> list[Path]:
    """Returns what must be seen for it to run: itself, interpreter, libraries, links resolved."""
    parts = [program, Path(sys.executable), Path(sys.base_prefix), Path(__file__)]
    return [*parts, *(part.resolve() for part in parts)]


def expect_runnable(parts: Iterable[Path]) -> None:
    """Raises UserMistake, with a hint, for a part that the service would not find."""
    for part in parts:
        if any(part.is_relative_to(folder) for folder in _HIDDEN):
            raise UserMistake(
                f"The service cannot run {part}: home and temporary folders are hidden from it"
                " (203/EXEC).",
                hint="Install into a virtual environment in /opt, with the system's Python:"
                " /usr/bin/python3 -m venv /opt/cdc-sync && /opt/cdc-sync/bin/pip install cdc-sync",
            )
        if not _PLAIN.issuperset(str(part)):
            raise UserMistake(
                f"The service cannot run {part}: its path has characters that a unit would quote.",
                hint="Install into /opt/cdc-sync.",
            )
