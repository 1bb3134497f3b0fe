"""config.yaml as text: its values as plain Python, and the line of every key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from cdc_sync.errors import ConfigMistake


@dataclass(frozen=True, slots=True)
class Document:
    """The sections of a file, as YAML gave them; `path` is the file as the user named it."""

    path: Path
    sections: CommentedMap

    def line(self, *place: str | int) -> int | None:
        """The line of a key or a list's item, from 1; of what holds it, where it is not there."""
        node: Any = self.sections
        line = None
        for step in place:
            key = _own_key(node, step)
            found = _position(node, key)
            if found is None:
                return line
            line, node = found + 1, node[key]
        return line

    def says(self, sentence: str, line: int | None) -> str:
        """A mistake as it is told: file, line, sentence."""
        return f"{self.path}, line {line}: {sentence}" if line else f"{self.path}: {sentence}"


def read_document(path: Path) -> Document:
    """Reads a file. Raises ConfigMistake where it cannot be read or is no mapping of sections."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigMistake(f"{path} is not UTF-8 text.", mend="Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigMistake(
            f"{path} cannot be read ({error.strerror}).",
            mend="Name the file with --config, or let this user read it.",
        ) from None
    return Document(path, _sections(path, text))


def _sections(path: Path, text: str) -> CommentedMap:
    try:
        top = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        raise ConfigMistake(_duplicate(path, error)) from None
    except YAMLError as error:
        raise ConfigMistake(
            _broken(path, error),
            mend="Look at the indentation, quotes and colons there and on the line before.",
        ) from None
    except ValueError as error:
        raise ConfigMistake(
            f"{path}: a value looks like a date and is none ({error}).",
            mend="Put quotes around it.",
        ) from None
    except TypeError:
        raise ConfigMistake(
            f"{path}: a key is a list or a section.", mend="Write plain names before the colons."
        ) from None
    if top is None:
        raise ConfigMistake(
            f"{path} is empty.", mend="Start from the example config.yaml of cdc-sync."
        )
    if not isinstance(top, CommentedMap):
        raise ConfigMistake(
            f"{path}, line 1: the file must hold sections such as `source:`, "
            f"not {'a list' if isinstance(top, CommentedSeq) else 'a single value'}."
        )
    return top


def _duplicate(path: Path, error: DuplicateKeyError) -> str:
    key = str(error.problem).partition('"')[2].partition('"')[0]
    line = error.problem_mark.line + 1
    return f"{path}, line {line}: `{key}` is there twice. Keep one of them."


def _broken(path: Path, error: YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or "it cannot be read"
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path}{place}: this is not YAML: {problem.strip().rstrip('.')}."


def _own_key(node: Any, step: str | int) -> Any:
    """The key as YAML has it, which may be a number where we speak of it as text."""
    return next((key for key in node if str(key) == step), step) if isinstance(node, dict) else step


def _position(node: Any, step: Any) -> int | None:
    """The line, from 0, of a key or an item of the node; None where it has none."""
    try:
        if isinstance(node, CommentedMap):
            return int(node.lc.key(step)[0])
        if isinstance(node, CommentedSeq):
            return int(node.lc.item(step)[0])
    except (KeyError, TypeError, AttributeError):
        pass
    return None
