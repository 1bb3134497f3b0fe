"""The programs of systemd that an installation needs, on this machine or for an image."""

import os
import pwd
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.errors import CdcSyncError, UserMistake

_EXPOSURE = re.compile(r"exposure level for \S+: ([\d.]+)")
USER = "cdc-sync"
CONFIGS = Path("/etc/cdc-sync")
STATES = Path("/var/lib/cdc-sync")
UNITS = Path("/etc/systemd/system")
_EXPECTED = ("client_secret", "source_password")  # the unit names them, there or not
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# What ProtectHome= and PrivateTmp= hide.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-@")


@dataclass(frozen=True, slots=True)
class Ids:
    """A user's number, and its group's."""

    user: int
    group: int


def ids_of(user: str, root: Path) -> Ids | None:
    """The numbers of a user; None where there is no such user yet."""
    if root == Path("/"):
        try:
            known = pwd.getpwnam(user)
        except KeyError:
            return None
        return Ids(known.pw_uid, known.pw_gid)
    passwd = root / "etc/passwd"
    lines = passwd.read_text().splitlines() if passwd.exists() else []
    for fields in (line.split(":") for line in lines):
        if fields[0] == user:
            return Ids(int(fields[2]), int(fields[3]))
    return None


def make_user(sysusers: str, root: Path) -> None:
    """Makes the users of a sysusers.d text. Raises CdcSyncError where that does not work."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    _do("systemd-sysusers", f"--root={root}", "-", given=sysusers)


def exposure(unit: Path) -> str | None:
    """What `systemd-analyze security` gives a unit, from 0 to 10; None where it cannot say."""
    try:
        done = _run("systemd-analyze", "security", "--offline=yes", str(unit))
    except UserMistake:
        return None
    found = _EXPOSURE.search(done.stdout)
    return found[1] if found else None


def reload_units(root: Path) -> None:
    """Has a running systemd read its units anew."""
    if _is_running(root):
        _do("systemctl", "daemon-reload")


def disable(unit: str, root: Path) -> None:
    """Stops the unit where systemd runs, and starts it at no boot any more."""
    if _is_running(root):
        _do("systemctl", "disable", "--now", unit)
    else:
        _do("systemctl", f"--root={root}", "disable", unit)


def _is_running(root: Path) -> bool:
    return root == Path("/") and Path("/run/systemd/system").is_dir()


def _do(program: str, *arguments: str, given: str | None = None) -> None:
    done = _run(program, *arguments, given=given)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise CdcSyncError(f"{program} {arguments[0]} does not work: {why}")


def _run(
    program: str, *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  # programs of systemd, with paths of ours
            [program, *arguments], input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UserMistake(
            f"There is no {program} here.", hint="This needs a system with systemd."
        ) from None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, or with a dry run would be: what it concerns, and how it went."""

    name: str
    says: str
    text: str | None = None  #: of a file that is written


def put(path: Path, text: str, *, dry: bool) -> str:
    """The text at a path (0644); `written`, `updated` or `unchanged`."""
    before = read(path)
    if before == text:
        return "unchanged"
    if not dry:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
    return "written" if before is None else "updated"


def take_back(path: Path, is_own: Callable[[str], bool], *, dry: bool) -> str | None:
    """Removes a file that is as we wrote it, and its folder if that is empty then.

    `removed`, or why not; None where there is no such file.
    """
    text = read(path)
    if text is None:
        return None
    if not is_own(text):
        return "kept: it was changed, or written by somebody else"
    if not dry:
        path.unlink()
        remove_if_empty(path.parent)
    return "removed"


def remove_if_empty(folder: Path) -> bool:
    """Removes a folder with nothing in it; whether it is gone."""
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True


def give(path: Path, mode: int, user: int, group: int) -> bool:
    """Sets mode and owner of what is there; whether anything was another."""
    known = path.stat()
    if (known.st_mode & 0o7777, known.st_uid, known.st_gid) == (mode, user, group):
        return False
    os.chown(path, user, group)
    path.chmod(mode)
    return True


def give_all(folder: Path, to: Ids) -> bool:
    """Gives a folder and all in it to a user; whether anything was another's."""
    changed = False
    for path in (folder, *_within(folder)):
        known = path.lstat()
        if (known.st_uid, known.st_gid) != (to.user, to.group):
            os.chown(path, to.user, to.group, follow_symlinks=False)
            changed = True
    return changed


def read(path: Path) -> str | None:
    """The text of a file; None where there is none. Raises UserMistake for what is no text file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserMistake(f"{path} cannot be read ({why}).", hint="Move it away.") from None


def _within(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *names))


@dataclass(frozen=True, slots=True)
class Service:
    """The single service, or with a `name` an instance; below `root`: `/`, or that of an image."""

    name: str | None = None
    root: Path = Path("/")

    def __post_init__(self) -> None:
        if self.name is not None and (self.name == "config" or not _NAME.fullmatch(self.name)):
            raise UserMistake(
                f"{self.name} cannot be the name of an instance.",
                hint="Take letters, digits, `_`, `-` and `.`; `config` is the single service's.",
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


def this_program() -> Path:
    """The command of the installation that runs now. Raises UserMistake where it has none."""
    program = Path(sysconfig.get_path("scripts")) / "cdc-sync"
    if not program.is_file():
        raise UserMistake(
            f"This installation has no command {program}.", hint="Install the package again."
        )
    return program


def parts_of(program: Path) -> list[Path]:
    """What must be seen for it to run: itself, its interpreter, the libraries, links resolved."""
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
