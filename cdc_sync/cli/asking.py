"""One question at a time: a flag answers it, else a person, else the guess."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from cdc_sync.errors import CdcSyncError, UserMistake

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who answers; `flags` are the options by name without dashes, None where not given."""

    flags: Mapping[str, str | None]
    terminal: bool

    def given(self, *flags: str) -> bool:
        """Whether every one of these options was given."""
        return all(self.flags[flag] is not None for flag in flags)

    def ask(self, flag: str, question: str, default: str | None = None) -> str:
        """The answer. Raises UserMistake where there is none and nobody can be asked."""
        if (given := self.flags[flag]) is not None:
            return given
        if not self.terminal and default is None:
            raise nobody_to_ask([flag])
        return self.prompt(question, default) if self.terminal else str(default)

    def prompt(self, question: str, default: str | None = None) -> str:
        """A person's answer; without one the default, which the question shows."""
        answer: str = typer.prompt(question, default=default, show_default=bool(default))
        return answer.strip()

    def secret(self, flag: str, question: str, default: str | None = None) -> str:
        """A secret: the content of the file that a flag names, else typed without an echo."""
        if (file := self.flags[flag]) is not None:
            return _content(file, flag)
        if not self.terminal:
            if default is None:
                raise nobody_to_ask([flag])
            return default
        typed: str = typer.prompt(question, default=default, hide_input=True, show_default=False)
        return typed

    def until(self, attempt: Callable[[], T], *flags: str) -> T:
        """Asks again where a person can answer better; an option gets no second chance."""
        while True:
            try:
                return attempt()
            except CdcSyncError as error:
                if not self.terminal or any(map(self.given, flags)):
                    raise
                print(f"  {error}")


def nobody_to_ask(flags: Sequence[str]) -> UserMistake:
    """That options are missing, by their names."""
    named = ", ".join(f"--{flag}" for flag in flags)
    return UserMistake(
        "This asks for what no option says, and there is no terminal.", mend=f"Add {named}."
    )


def _content(file: str, flag: str) -> str:
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserMistake(
            f"{file} cannot be read ({why}).", mend=f"Correct the path in --{flag}."
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
