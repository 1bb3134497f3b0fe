"""Replaces the forms `${…}` in the texts of config.yaml by variables and files.

`${NAME}` is a variable, `${NAME:-default}` one with a default, `${file:PATH}` a file's content
without its last newline. Forms nest, and `$${` is a literal `${`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cdc_sync.config.urls import userinfo_span

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = "\0"  # stands for a form while the places of a URL are found


@dataclass(frozen=True, slots=True)
class Variable:
    """`${NAME}`, or `${NAME:-default}`."""

    name: str
    default: "Pieces | None"


@dataclass(frozen=True, slots=True)
class FileContent:
    """`${file:PATH}`."""

    path: "Pieces"


class UnresolvedError(ValueError):
    """A form whose variable is not set, or whose file cannot be read."""


Piece = str | Variable | FileContent
Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Interpolator:
    """Resolves forms from an environment and files; a relative PATH counts from `folder`."""

    environ: Mapping[str, str]
    folder: Path

    def interpolate(self, text: str) -> str:
        """The text with every form resolved. Raises ValueError with a hint where one is not.

        Nothing that came out of a form is looked at again.
        """
        return self._join(parse_forms(text))

    def interpolate_url(self, text: str) -> str:
        """As `interpolate`, and percent-encodes what stands for a URL's user or password."""
        pieces = parse_forms(text)
        skeleton = "".join(piece if isinstance(piece, str) else _MARK for piece in pieces)
        start, end = userinfo_span(skeleton)
        resolved: list[str] = []
        position = 0
        for piece in pieces:
            if isinstance(piece, str):
                resolved.append(piece)
                position += len(piece)
            else:
                value = self._resolve(piece)
                resolved.append(quote(value, safe="") if start <= position < end else value)
                position += len(_MARK)
        return "".join(resolved)

    def _join(self, pieces: Pieces) -> str:
        return "".join(self._resolve(piece) for piece in pieces)

    def _resolve(self, piece: Piece) -> str:
        match piece:
            case Variable():
                return self._read_variable(piece)
            case FileContent():
                return self._read_file(self._join(piece.path))
            case _:
                return piece

    def _read_variable(self, form: Variable) -> str:
        value = self.environ.get(form.name)
        if form.default is not None and not value:
            return self._join(form.default)
        if value is None:
            raise UnresolvedError(
                f"needs the environment variable {form.name}, which is not set. "
                f"Set it, or write a default: `${{{form.name}:-…}}`."
            )
        return value

    def _read_file(self, path: str) -> str:
        file = self.folder / path
        try:
            text = file.read_bytes().decode()
        except UnicodeDecodeError:
            raise UnresolvedError(f"needs the file {file}, which is not UTF-8 text.") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a path"
            raise UnresolvedError(
                f"needs the file {file}, which cannot be read ({why}). "
                "Create it, correct its path, or let this user read it."
            ) from None
        return text.removesuffix("\n").removesuffix("\r")


def parse_forms(text: str) -> Pieces:
    """Returns the literal texts and forms of a text. Raises ValueError for a malformed form."""
    return _parse(text, 0, nested=False)[0]


def _parse(text: str, position: int, *, nested: bool) -> tuple[Pieces, int]:
    """Returns the pieces from `position` to the end or, nested, to the closing brace; and where."""
    pieces: list[Piece] = []
    while position < len(text):
        if text.startswith("$${", position):
            pieces.append("${")
            position += 3
        elif text.startswith("${", position):
            form, position = _parse_form(text, position + 2)
            pieces.append(form)
        elif nested and text[position] == "}":
            return tuple(pieces), position
        else:
            pieces.append(text[position])
            position += 1
    return tuple(pieces), position


def _parse_form(text: str, position: int) -> tuple[Piece, int]:
    """Returns the form whose inside begins at `position`, and where the text goes on after it."""
    if text.startswith("file:", position):
        path, end = _parse(text, position + len("file:"), nested=True)
        return FileContent(path), _skip_brace(text, end)
    name = _NAME.match(text, position)
    if name is None:
        raise _malformed()
    if not text.startswith(":-", name.end()):
        return Variable(name[0], None), _skip_brace(text, name.end())
    default, end = _parse(text, name.end() + 2, nested=True)
    return Variable(name[0], default), _skip_brace(text, end)


def _skip_brace(text: str, end: int) -> int:
    if not text.startswith("}", end):
        raise _malformed()
    return end + 1


def _malformed() -> ValueError:
    return ValueError(
        "has a `${` that begins no form. Write `${NAME}`, `${NAME:-default}` or `${file:PATH}`, "
        "and `$${` for the characters themselves."
    )
