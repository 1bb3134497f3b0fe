"""References of contracts that CustomerGauge already has, as CSV: exported, and imported.

A file is imported as a whole, or not at all where one of its lines is wrong.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from cdc_sync.contract import Reference, SourceId, Status, encode_id, problems_from_json
from cdc_sync.errors import UserMistake
from cdc_sync.rules.mapping import REFERENCE_MAX
from cdc_sync.state import acceptances, contracts, lookup
from cdc_sync.state.database import Database
from cdc_sync.state.lookup import ReferencePair
from cdc_sync.wording import format_problems

HEADER = ["source_id", "reference"]


class ReferenceLine(NamedTuple):
    """An id and its reference from the file, and the line on which they begin."""

    number: int
    pair: ReferencePair


class Mistake(NamedTuple):
    """Why a line cannot be imported."""

    line: int
    message: str


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
    pairs = [line.pair for line in lines]
    with state.begin() as tx:
        lookup.lock_table(tx)
        stored = lookup.find_stored(tx, [pair.source_id for pair in pairs])
        owners = contracts.find_owners(tx, [pair.reference for pair in pairs])
        sent = {source_id: held.reference for source_id, held in stored.items() if held.sent}
        mistakes = sorted([*mistakes, *_find_conflicts(lines, sent, owners)])
        changing = [] if mistakes else [pair for pair in pairs if pair.source_id not in sent]
        new = [pair for pair in changing if pair.source_id not in stored]
        known = [pair for pair in changing if pair.source_id in stored]
        if not dry_run:
            lookup.insert_imported(tx, new, now)
            lookup.assign_references(tx, known)
    return ImportResult(
        imported=len(changing),
        unchanged=sum(sent.get(pair.source_id) == pair.reference for pair in pairs),
        not_met=len(new),
        refused_by_us=sum(stored[pair.source_id].refused_by_us for pair in known),
        mistakes=mistakes,
    )


def move(  # noqa: PLR0913  # what the person says, one argument each
    state: Database,
    old: str,
    new: str,
    id_columns: int,
    *,
    who: str,
    reason: str,
    now: datetime,
) -> Reference:
    """Gives the reference of a contract that is gone to the one that took its place; returns it.

    Raises UserMistake, and changes nothing, where `old` is not gone or was never sent, where `new`
    was sent itself, is held or is refused for a reason of its own, or where one is in flight.
    """
    if not reason.strip():
        raise UserMistake(
            "To move a reference takes a reason, for the history.", hint="Add --reason TEXT."
        )
    with state.begin() as tx:
        lookup.lock_table(tx)
        giving, taking = contracts.find(tx, old), contracts.find(tx, new)
        if giving is None:
            raise UserMistake(
                f"The state does not know {old}.", hint="See cdc-sync contracts list."
            )
        _expect_movable(giving, taking)
        try:
            target = taking["source_id"] if taking else _parse_id(new, id_columns)
        except ValueError as error:
            raise UserMistake(f"{new} cannot be an id: {error}.") from None
        lookup.hand_over(tx, giving["source_id"], target, now)
        acceptances.log_move(
            tx, giving["source_id"], target, who=who, reason=reason.strip(), now=now
        )
    return Reference(giving["reference"])


def _expect_movable(giving: Mapping[str, Any], taking: Mapping[str, Any] | None) -> None:
    old, status = giving["source_id"], giving["status"]
    if status != Status.GONE or giving["acknowledged"] is None:
        raise UserMistake(
            f"{old} is {status}: a reference can only be moved from a contract that CustomerGauge"
            " has and the source has no more.",
            hint="If its row is gone, cdc-sync reconcile finds that; then move it.",
        )
    if giving["claimed_by"] or (taking is not None and taking["claimed_by"]):
        # Its answer would be recorded with the one that has the reference no more.
        raise UserMistake("A PUT of one of them is in flight.", hint="Try again in a moment.")
    if taking is None:
        return
    new = taking["source_id"]
    if taking["held_run"] is not None:
        raise UserMistake(
            f"{new} waits for the guard.", hint="First: cdc-sync approve, or cdc-sync discard."
        )
    if taking["acknowledged"] is not None or taking["in_doubt"] is not None:
        raise UserMistake(
            f"{new} has been sent as {taking['reference']}: nothing was moved.",
            hint="A contract keeps its reference for ever once it was sent.",
        )
    others = [p for p in problems_from_json(taking["last_error"]) if p.field != "reference"]
    if taking["http_status"] is None and others:
        raise UserMistake(
            f"{new} is {taking['status']} for another reason, too: {format_problems(others)}.",
            hint="Correct its row first.",
        )


def _find_conflicts(
    lines: Sequence[ReferenceLine],
    sent: Mapping[SourceId, Reference | None],
    owners: Mapping[Reference, SourceId],
) -> Iterator[Mistake]:
    """Yields lines whose contract was sent under another reference, or whose reference is taken.

    It is not taken by a contract that gets another one by this file.
    """
    moving = {line.pair.source_id for line in lines} - sent.keys()
    for number, (source_id, reference) in lines:
        earlier, owner = sent.get(source_id, reference), owners.get(reference, source_id)
        if earlier != reference:
            message = f"{source_id} was sent under the reference {earlier} already"
            yield Mistake(number, message)
        elif owner != source_id and owner not in moving:
            yield Mistake(number, f"the reference {reference} belongs to {owner}")


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
    first: dict[tuple[str, str], int] = {}  # the line of each id and of each reference
    for number, fields in records:
        try:
            pair = _parse_pair(fields, id_columns)
            _expect_first(first, number, pair)
        except ValueError as error:
            mistakes.append(Mistake(number, str(error)))
        else:
            lines.append(ReferenceLine(number, pair))
    return lines, mistakes


def _records(text: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yields each record, or why it is no CSV, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield number, error
            return
        if fields is None:
            return
        if fields:
            yield number, fields


def _parse_pair(fields: list[str] | csv.Error, id_columns: int) -> ReferencePair:
    """Returns the pair of a record. Raises ValueError with what is wrong with it."""
    if isinstance(fields, csv.Error):
        raise ValueError(f"is not CSV from here on: {fields}")  # noqa: TRY004  # no wrong type
    if len(fields) != len(HEADER):
        raise ValueError(
            f"has {len(fields)} fields, not {len(HEADER)}: a field that has a comma stands in"
            ' double quotes, its own quotes doubled, such as "[""ACME"",17]"'
        )
    return ReferencePair(_parse_id(fields[0], id_columns), _parse_reference(fields[1]))


def _parse_id(text: str, id_columns: int) -> SourceId:
    """Returns the id as the state spells it."""
    if not text:
        raise ValueError("the source_id is empty")
    if id_columns == 1:
        return encode_id([text])
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    fits = isinstance(parts, list) and len(parts) == id_columns
    if not fits or not all(type(part) in (str, int) for part in parts):
        raise ValueError(
            f"the source_id {text} is not a JSON array of {id_columns} texts or whole numbers:"
            " the key has that many columns"
        )
    return encode_id(parts)


def _parse_reference(text: str) -> Reference:
    if not text:
        raise ValueError("the reference is empty")
    if text != text.strip():
        raise ValueError("the reference begins or ends with white space")
    if len(text) > REFERENCE_MAX:
        raise ValueError(
            f"the reference has {len(text)} characters, at most {REFERENCE_MAX} are taken"
        )
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("the reference holds a control character")
    return Reference(text)


def _expect_first(first: dict[tuple[str, str], int], number: int, pair: ReferencePair) -> None:
    for name, value in zip(HEADER, pair, strict=True):
        earlier = first.setdefault((name, value), number)
        if earlier != number:
            raise ValueError(f"the {name} {value} is on line {earlier} already")
