"""How commands speak: sentences on a terminal, one JSON document with --json, questions."""

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from cdc_sync.errors import UserMistake
from cdc_sync.wording import rfc3339

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def emit(document: Any, human: str, *, as_json: bool) -> None:
    """Prints the document as JSON, or else the words."""
    print(json.dumps(document, default=_json_form, ensure_ascii=False) if as_json else human)


def confirm(question: str, *, yes: bool) -> bool:
    """Asks. Raises UserMistake where nobody can answer and `--yes` was not given."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserMistake("This asks before it acts, and there is no terminal.", mend="Add --yes.")
    return typer.confirm(question, default=False, err=True)


def _json_form(value: object) -> str | None:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
