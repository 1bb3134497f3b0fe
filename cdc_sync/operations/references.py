"""References of contracts that CustomerGauge already has, as CSV: exported, and imported.

A file is imported as a whole, or not at all where one of its lines is wrong.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from sqlalchemy import Connection

from cdc_sync.contract import Reference, SourceId, encode_id
from cdc_sync.errors import UserMistake
from cdc_sync.rules.mapping import REFERENCE_MAX
from cdc_sync.state import contracts, lookup
from cdc_sync.state.database import Database
from cdc_sync.state.lookup import ReferencePair, StoredReference

HEADER = ["source_id", "reference"]
_PAGE = 1000


class ReferenceLine(NamedTuple):
    """An id and its reference from the file, and the line on which they begin."""

    number: int
    pair: ReferencePair


class Mistake(NamedTuple):
    """Why a line cannot be imported."""

    line: int
    message: str


class _JudgedLine(NamedTuple):
    line: ReferenceLine
    stored: StoredReference | None
    problem: str | None

    @property
    def changes(self) -> bool:
        return self.problem is None and (self.stored is None or not self.stored.sent)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did; with mistakes it did nothing."""

    imported: int
    unchanged: int
    not_met: int  #: of the imported: contracts that the source has not shown yet
    refused_by_us: int  #: of the imported: known, and refused by our own rules until now
    mistakes: Sequence[Mistake]

    def document(self) -> dict[str, Any]:
        """Returns `references import --json`, key for key."""
        return {
            "imported": self.imported,
            "unchanged": self.unchanged,
            "errors": [{"line": one.line, "says": one.message} for one in self.mistakes],
        }


def export(state: Database, to: TextIO) -> int:
    """Writes every contract that CustomerGauge has or may have, by id, and returns how many."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(HEADER)
    count = 0
    with state.read() as tx:
        for count, pair in enumerate(lookup.stream_references(tx), 1):  # noqa: B007  # its last value
            writer.writerow(pair)
    return count


def import_file(
    state: Database, path: Path, id_columns: int, now: datetime, *, dry_run: bool
) -> ImportResult:
    """Imports the file in one transaction, or nothing of it where a line is wrong.

    Raises UserMistake for a file that is no CSV with the header `source_id,reference`.
    """
    lines, mistakes = parse(_read_text(path), id_columns)
    with state.begin() as tx:
        lookup.lock_table(tx)
        judged = list(_judge(tx, lines))
        wrong = [Mistake(one.line.number, one.problem) for one in judged if one.problem]
        mistakes = sorted([*mistakes, *wrong, *_find_taken(tx, judged)])
        changing = [] if mistakes else [one for one in judged if one.changes]
        new = [one.line.pair for one in changing if one.stored is None]
        known = [one.line.pair for one in changing if one.stored is not None]
        if not dry_run:
            lookup.insert_imported(tx, new, now)
            lookup.assign_references(tx, known)
    return ImportResult(
        imported=len(changing),
        unchanged=sum(one.problem is None and not one.changes for one in judged),
        not_met=len(new),
        refused_by_us=sum(one.stored is not None and one.stored.refused_by_us for one in changing),
        mistakes=mistakes,
    )


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserMistake(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserMistake(
            f"{path} is not UTF-8: line {line} has the byte 0x{raw[error.start]:02x}.",
            hint="Save it as CSV in UTF-8.",
        ) from error


def parse(text: str, id_columns: int) -> tuple[list[ReferenceLine], list[Mistake]]:
    """Returns the pairs of a CSV text, ids as the state spells them, and what is wrong with others.

    Raises UserMistake where its first line is not the header.
    """
    records = _records(text)
    header = next(records, None)
    if header is None or header[1] != HEADER:
        raise UserMistake(
            "The first line is not the header `source_id,reference`; nothing was imported.",
            hint="Begin the file with it, the columns in this order and separated by commas.",
        )
    lines: list[ReferenceLine] = []
    mistakes: list[Mistake] = []
    first: dict[tuple[str, str], int] = {}  # where each id and each reference was met first
    for number, fields in records:
        pair = fields if isinstance(fields, str) else _pair(fields, id_columns)
        message = pair if isinstance(pair, str) else _find_repeated(first, number, pair)
        if message is not None:
            mistakes.append(Mistake(number, message))
        elif isinstance(pair, ReferencePair):
            lines.append(ReferenceLine(number, pair))
    return lines, mistakes


def _records(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yields each record, or why it is no CSV, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield number, f"is not CSV from here on: {error}"
            return
        if fields is None:
            return
        if fields:
            yield number, fields


def _pair(fields: Sequence[str], id_columns: int) -> ReferencePair | str:
    """Returns the pair of a record, or what is wrong with it."""
    if len(fields) != len(HEADER):
        return (
            f"has {len(fields)} fields, not {len(HEADER)}: a field that has a comma stands in"
            ' double quotes, its own quotes doubled, such as "[""ACME"",17]"'
        )
    source_id, message = _source_id(fields[0], id_columns)
    message = message or _why_no_reference(fields[1])
    return message or ReferencePair(source_id, Reference(fields[1]))


def _source_id(text: str, id_columns: int) -> tuple[SourceId, str | None]:
    """Returns the id as the state spells it, and what is wrong with it."""
    if not text:
        return SourceId(""), "the source_id is empty"
    if id_columns == 1:
        return encode_id([text]), None
    parts = _parts(text)
    if parts is None or len(parts) != id_columns:
        return SourceId(""), (
            f"the source_id {text} is not a JSON array of {id_columns} texts or whole numbers:"
            " the key has that many columns"
        )
    return encode_id(parts), None


def _parts(text: str) -> list[object] | None:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(parts, list) and all(type(part) in (str, int) for part in parts)
    return parts if fits else None


def _why_no_reference(text: str) -> str | None:
    if not text:
        return "the reference is empty"
    if text != text.strip():
        return "the reference begins or ends with white space"
    if len(text) > REFERENCE_MAX:
        return f"the reference has {len(text)} characters, at most {REFERENCE_MAX} are taken"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "the reference holds a control character"
    return None


def _find_repeated(
    first: dict[tuple[str, str], int], number: int, pair: ReferencePair
) -> str | None:
    for name, value in zip(HEADER, pair, strict=True):
        earlier = first.setdefault((name, value), number)
        if earlier != number:
            return f"the {name} {value} is on line {earlier} already"
    return None


def _judge(tx: Connection, lines: Iterable[ReferenceLine]) -> Iterator[_JudgedLine]:
    for page in _pages(lines):
        stored = lookup.find_stored(tx, [line.pair.source_id for line in page])
        for line in page:
            held = stored.get(line.pair.source_id)
            yield _JudgedLine(line, held, _why_not_changed(line.pair, held))


def _why_not_changed(pair: ReferencePair, held: StoredReference | None) -> str | None:
    """Returns why an id cannot have this reference: none changes after its first PUT."""
    if held is None or not held.sent or held.reference == pair.reference:
        return None
    return f"{pair.source_id} was sent under the reference {held.reference} already"


def _find_taken(tx: Connection, judged: Sequence[_JudgedLine]) -> Iterator[Mistake]:
    """Yields lines whose reference belongs to a contract that does not get another by this file."""
    moving = {one.line.pair.source_id for one in judged if one.changes}
    for page in _pages(one.line for one in judged if one.problem is None):
        owners = contracts.find_owners(tx, [line.pair.reference for line in page])
        for number, pair in page:
            owner = owners.get(pair.reference, pair.source_id)
            if owner != pair.source_id and owner not in moving:
                yield Mistake(number, f"the reference {pair.reference} belongs to {owner}")


def _pages(lines: Iterable[ReferenceLine]) -> Iterator[list[ReferenceLine]]:
    rest = iter(lines)
    while page := list(islice(rest, _PAGE)):
        yield page
