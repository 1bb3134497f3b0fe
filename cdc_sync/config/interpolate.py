"""Replaces the forms `${…}` in the texts of config.yaml by variables and files.

`${NAME}` is a variable, `${NAME:-default}` one with a default, `${file:PATH}` a file's content
without its last newline. Forms nest, and `$${` is a literal `${`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from cdc_sync.config.urls import userinfo_span

_TOKEN = re.compile(
    r"(?P<form>\$\{)(?:(?P<file>file:)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-)?)?"
    r"|\$\$\{|\}|\$|[^$}]+"
)
_MARK = "\0"  # stands for a form while the places of a URL are found
_Tokens = Iterator[re.Match[str]]
_Piece = str | Callable[[], str]  # a literal text, or what reads a form's value


class UnresolvedError(ValueError):
    """A form whose variable is not set, or whose file cannot be read."""


@dataclass(frozen=True, slots=True)
class Interpolator:
    """Resolves forms from an environment and files; a relative PATH counts from `folder`."""

    environ: Mapping[str, str]
    folder: Path
    secrets: bool = True  #: whether a secret whose form cannot be resolved is a mistake

    def interpolate(self, text: str) -> str:
        """Returns the text with every form resolved. Raises ValueError with a hint.

        Nothing that came out of a form is looked at again.
        """
        return _join(self._parse_text(text))

    def interpolate_url(self, text: str) -> str:
        """As `interpolate`, and percent-encodes what stands for a URL's user or password."""
        pieces = self._parse_text(text)
        start, end = userinfo_span("".join(p if isinstance(p, str) else _MARK for p in pieces))
        resolved: list[str] = []
        position = 0
        for piece in pieces:
            if isinstance(piece, str):
                resolved.append(piece)
                position += len(piece)
            else:
                resolved.append(quote(piece(), safe="") if start <= position < end else piece())
                position += len(_MARK)
        return "".join(resolved)

    def _parse_text(self, text: str) -> list[_Piece]:
        return self._parse(_TOKEN.finditer(text), nested=False)

    def _parse(self, tokens: _Tokens, *, nested: bool) -> list[_Piece]:
        """Returns the pieces up to the end or, nested, up to the closing brace."""
        pieces: list[_Piece] = []
        for token in tokens:
            if nested and token[0] == "}":
                return pieces
            if token["form"]:
                pieces.append(self._parse_form(token, tokens))
            else:
                pieces.append("${" if token[0] == "$${" else token[0])
        if nested:
            raise _malformed()
        return pieces

    def _parse_form(self, opening: re.Match[str], tokens: _Tokens) -> Callable[[], str]:
        if opening["file"]:
            return partial(self._read_file, self._parse(tokens, nested=True))
        default = self._parse(tokens, nested=True) if opening["default"] else None
        if default is None and (not opening["name"] or not _is_brace(next(tokens, None))):
            raise _malformed()
        return partial(self._read_variable, opening["name"], default)

    def _read_variable(self, name: str, default: list[_Piece] | None) -> str:
        value = self.environ.get(name)
        if default is not None and not value:
            return _join(default)
        if value is None:
            raise UnresolvedError(
                f"needs the environment variable {name}, which is not set. "
                f"Set it, or write a default: `${{{name}:-…}}`."
            )
        return value

    def _read_file(self, path: list[_Piece]) -> str:
        file = self.folder / _join(path)
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


def _join(pieces: list[_Piece]) -> str:
    return "".join(piece if isinstance(piece, str) else piece() for piece in pieces)


def _is_brace(token: re.Match[str] | None) -> bool:
    return token is not None and token[0] == "}"


def _malformed() -> ValueError:
    return ValueError(
        "has a `${` that begins no form. Write `${NAME}`, `${NAME:-default}` or `${file:PATH}`, "
        "and `$${` for the characters themselves."
    )
