"""Files and folders of an installation: made where they differ, taken back where they are ours."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.errors import UserMistake
from cdc_sync.service.host import Ids


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
        raise UserMistake(f"{path} cannot be read ({why}).", mend="Move it away.") from None


def _within(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *names))
