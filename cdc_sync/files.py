"""Files in the daemon's folder, where root works too: no link there leads root to another file."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import ELOOP
from pathlib import Path

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


def is_hidden_or(look: Callable[[], bool]) -> bool:
    """Returns what `look` says; True where this user may not look: opening the file says so."""
    try:
        return look()
    except PermissionError:
        return True


def open_private(path: Path | str, flags: int) -> int:
    """Opens a file, which is made 0600 and given to its folder's owner where it is missing.

    Returns the descriptor. Raises OSError, also for a link and for what is no file.
    """
    path = Path(path)
    # A pipe would keep us waiting for its other end.
    descriptor = os.open(path, flags | _NO_LINK | os.O_NONBLOCK, 0o600)
    try:
        if not _is_plain(os.fstat(descriptor)):
            raise OSError(ELOOP, "it is a link, or no file", str(path))
        _give(descriptor, path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def give_to_owner_of_folder(path: Path) -> None:
    """Gives a file that root has made to the folder's owner, as whom the daemon runs."""
    if os.geteuid() == 0:
        # Opened by its place alone: to close another descriptor would end SQLite's locks on it.
        descriptor = os.open(path, os.O_PATH | _NO_LINK)
        try:
            _give(descriptor, path.parent)
        finally:
            os.close(descriptor)


def expect_no_links(path: Path) -> None:
    """Raises OSError where root would be led on by another user's link, at or above a path."""
    if os.geteuid() != 0:
        return
    for part in (path, *path.parents):
        with suppress(FileNotFoundError):
            found = part.lstat()
            is_foreign_link = stat.S_ISLNK(found.st_mode) and found.st_uid != 0
            is_second_name = stat.S_ISREG(found.st_mode) and found.st_nlink != 1
            if is_foreign_link or (is_second_name and part.parent.stat().st_uid != 0):
                raise OSError(ELOOP, f"{part} is a link", str(part))


def give_folder(folder: Path, user: int, group: int, mode: int) -> bool:
    """Sets a folder's owner and mode, and the owner of all in it; follows no link.

    Returns whether anything was another's. Files with a second name are left alone. Raises OSError.
    """
    expect_no_links(folder)
    changed = False
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    try:
        for _, folders, files, at in os.fwalk(dir_fd=top):
            for name in (*folders, *files):
                with suppress(OSError):  # a link, or gone meanwhile
                    changed |= _give_entry(name, at, user, group)
        found = os.fstat(top)
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (user, group, mode):
            os.fchown(top, user, group)
            os.fchmod(top, mode)
            changed = True
    finally:
        os.close(top)
    return changed


def _give_entry(name: str, folder: int, user: int, group: int) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        is_ours = stat.S_ISDIR(found.st_mode) or _is_plain(found)
        if not is_ours or (found.st_uid, found.st_gid) == (user, group):
            return False
        os.fchown(descriptor, user, group)
    finally:
        os.close(descriptor)
    return True


def _give(descriptor: int, folder: Path) -> None:
    if os.geteuid() != 0:
        return
    owner, known = folder.stat(), os.fstat(descriptor)
    differs = (known.st_uid, known.st_gid) != (owner.st_uid, owner.st_gid)
    if differs and _is_plain(known):
        os.chown(f"/proc/self/fd/{descriptor}", owner.st_uid, owner.st_gid)


def _is_plain(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
