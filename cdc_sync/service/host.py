"""The programs of systemd that an installation needs, on this machine or for an image."""

import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.errors import CdcSyncError, UserMistake

_EXPOSURE = re.compile(r"exposure level for \S+: ([\d.]+)")


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
            f"There is no {program} here.", mend="This needs a system with systemd."
        ) from None
