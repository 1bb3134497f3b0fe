"""A control group of our own in every hierarchy that may be written; gone at the end."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REMOVED_WITHIN = 5.0  # seconds; the kernel lets go of the last process a little later


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of control groups, and where its hierarchy is mounted."""

    folder: Path
    mount: Path


@contextmanager
def own_groups(name: str) -> Iterator[list[Group]]:
    """A group of that name below our own, in each hierarchy where one can be made and entered."""
    groups = [group for group in _possible(name) if _make(group)]
    try:
        yield groups
    finally:
        for group in groups:
            _remove(group.folder)


def _possible(name: str) -> Iterator[Group]:
    own = dict(_own_paths())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        mount = Path(before.split(" ")[4])
        for controllers, path in own.items():
            if (kind == "cgroup2") == (controllers == "") and (
                kind == "cgroup2" or set(controllers.split(",")) <= set(options.split(","))
            ):
                yield Group(mount / path.lstrip("/") / name, mount)


def _own_paths() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        yield controllers, path


def _make(group: Group) -> bool:
    try:
        group.folder.mkdir()
    except OSError:
        return False
    # A cpuset without processors lets nobody in; systemd does not need it.
    if (group.folder / "cpuset.mems").exists() and group.mount.name == "cpuset":
        group.folder.rmdir()
        return False
    return True


def _remove(folder: Path) -> None:
    until = time.monotonic() + REMOVED_WITHIN
    while folder.exists() and time.monotonic() < until:
        for parent, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(parent).rmdir()
        time.sleep(0.02)
