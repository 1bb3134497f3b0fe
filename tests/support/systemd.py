"""A real systemd, as PID 1 of its own namespaces, where this checkout is installed in /opt.

What is in there is seen from outside by `Lab.path`. Of the machine it shares the kernel, the
network and /usr; /etc is a copy, and /opt, /run, /tmp and /var/lib are empty at first.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cgroups import Group, own_groups
from tests.support.wait import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEMD = "/lib/systemd/systemd"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
TARGETS = ("basic", "default", "multi-user", "network-online", "shutdown", "sysinit", "time-sync")
UP_WITHIN, COMMAND_WITHIN = 30, 60  # seconds

# Mounts are shared among those in there alone: so systemd hands its credentials to a service.
INIT = r"""
set -e
mount --make-rprivate / && mount --make-rshared /
while read -r folder mounted; do mount --bind "$folder" "$mounted"; done < "$LAB/groups"
mkdir "$LAB/opt" "$LAB/etc" "$LAB/source" "$LAB/var"
mount -t tmpfs tmpfs "$LAB/opt" && mkdir "$LAB"/opt/{python,libraries,checkout,source}
mount --bind "$LAB_PYTHON" "$LAB/opt/python"
mount --bind "$LAB_LIBRARIES" "$LAB/opt/libraries"
mount --bind "$LAB_CHECKOUT" "$LAB/opt/checkout"
mount --bind "$LAB/source" "$LAB/opt/source"
mount -t tmpfs tmpfs "$LAB/etc" && cp -a /etc/. "$LAB/etc/"
rm -rf "$LAB/etc/systemd/system" && mkdir -p "$LAB/etc/systemd/system"
mount --rbind "$LAB/opt" /opt && mount --rbind "$LAB/etc" /etc
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/lock /run/lab
for target in $LAB_TARGETS; do
  printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' > "/run/lab/$target.target"
done
mount --bind "$LAB/var" /var/lib && mount -t tmpfs tmpfs /tmp && mount -t proc proc /proc
# An interpreter finds its library below /opt, too.
echo /opt/python/lib > /etc/ld.so.conf.d/lab.conf && ldconfig
exec env -i PATH="$PATH" container=lab SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/lab \
  "$LAB_SYSTEMD" --system --unit=default.target --log-target=null
"""
ENTER = 'while read -r folder mounted; do echo $$ > "$folder/cgroup.procs"; done < "$LAB/groups"; '
UNSHARE = "exec unshare --pid --fork --mount --uts --ipc --cgroup --kill-child bash -c"

# What `python -m venv` and pip make, but for the libraries, which are the tests' own.
INSTALL = f"""
set -e
/opt/python/bin/{PYTHON} -m venv --without-pip /opt/cdc-sync
printf '/opt/libraries\\n/opt/checkout\\n' > /opt/cdc-sync/lib/{PYTHON}/site-packages/lab.pth
printf '#!/opt/cdc-sync/bin/python\\nfrom cdc_sync.cli.app import main\\nmain()\\n' \
  > /opt/cdc-sync/bin/cdc-sync
chmod +x /opt/cdc-sync/bin/cdc-sync
"""


class Unbootable(Exception):
    """No systemd can be started here, and why."""


class Lab:
    """A systemd that runs."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        # SQLite resolves links, and that to the root of a process is none that it understands.
        self._shared = {"/opt/source": folder / "source", "/var/lib": folder / "var"}

    def path(self, inside: str) -> Path:
        """A file of it, as seen from outside."""
        for folder, outside in self._shared.items():
            if inside.startswith(folder):
                return outside / inside.removeprefix(folder).lstrip("/")
        return Path(f"/proc/{self._pid}/root", inside.lstrip("/"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of root's in there."""
        return subprocess.run(
            ["nsenter", f"--target={self._pid}", "--pid", "--mount", "--cgroup", "--", *command],
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN,
            check=False,
        )

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """systemctl in there."""
        return self.run("systemctl", *arguments)

    def shows(self, unit: str, field: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", unit, "--value", f"--property={field}").stdout.strip()


@contextmanager
def running_systemd(folder: Path) -> Iterator[Lab]:
    """A systemd with cdc-sync in /opt, ended at the end. Raises Unbootable."""
    _expect_possible()
    with own_groups(f"cdc-sync-{uuid.uuid4().hex[:8]}") as groups:
        process = _start(folder, groups)
        try:
            lab = _booted(process, folder / "log")
            installed = lab.run("bash", "-c", INSTALL)
            assert installed.returncode == 0, installed.stderr
            yield lab
        finally:
            process.kill()  # and with it, by --kill-child, all that is in there
            process.wait()


def _expect_possible() -> None:
    if os.geteuid() != 0:
        raise Unbootable("only root can start a systemd")
    needed = (SYSTEMD, "unshare", "nsenter", "mount", "ldconfig", "systemd-sysusers")
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        raise Unbootable(f"there is no {', '.join(missing)}")


def _start(folder: Path, groups: list[Group]) -> subprocess.Popen[bytes]:
    if not groups:
        raise Unbootable("control groups cannot be written")
    (folder / "groups").write_text("".join(f"{one.folder} {one.mount}\n" for one in groups))
    environ = {
        "LAB": str(folder),
        "LAB_PYTHON": sys.base_prefix,
        "LAB_LIBRARIES": sysconfig.get_path("purelib"),
        "LAB_CHECKOUT": str(CHECKOUT),
        "LAB_TARGETS": " ".join(TARGETS),
        "LAB_SYSTEMD": SYSTEMD,
        "LAB_INIT": INIT,
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            ["bash", "-c", f'{ENTER}{UNSHARE} "$LAB_INIT"'],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _booted(process: subprocess.Popen[bytes], log: Path) -> Lab:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        wait_until(lambda: process.poll() is not None or children.read_text(), "it is forked")
        lab = Lab(int(children.read_text()), log.parent)
        wait_until(
            lambda: process.poll() is not None or lab.systemctl("list-units").returncode == 0,
            "systemd answers",
            UP_WITHIN,
        )
    except (AssertionError, ValueError, OSError):
        raise Unbootable(f"systemd does not come up: {_end_of(log)}") from None
    if process.poll() is not None:
        raise Unbootable(f"systemd does not stay: {_end_of(log)}")
    return lab


def _end_of(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])
