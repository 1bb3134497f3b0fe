"""How commands name contracts: by source ids or references, or all of them."""

from typing import Annotated

import typer

from cdc_sync.errors import UserMistake

Names = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Source ids or references.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def named(ids: list[str] | None, *, everything: bool) -> list[str] | None:
    """The names given, None for all. Raises UserMistake for neither and for both."""
    if everything == bool(ids):
        raise UserMistake("Name contracts by id or reference, or else add --all.")
    return None if everything else ids


def are(count: int) -> str:
    """So many contracts, as a sentence begins."""
    return {0: "No contract is", 1: "1 contract is"}.get(count, f"{count:,} contracts are")


def stay(count: int) -> str:
    """So many others, in the middle of a text."""
    return "1 stays as it is" if count == 1 else f"{count:,} stay as they are"
