"""The values of a contract's journey, from source row to acknowledgement."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, NewType, TypeAlias

import orjson

SourceId = NewType("SourceId", str)
Reference = NewType("Reference", str)
Payload = NewType("Payload", str)
"""The body of a PUT without its reference, as canonical JSON text: what is compared and stored."""

WatermarkValue: TypeAlias = datetime | int
"""A position in the source: an aware instant in UTC, or the number of an integer column."""

Field: TypeAlias = str | None
FieldDiff: TypeAlias = dict[str, tuple[Field, Field]]


class Status(StrEnum):
    """Where a contract stands."""

    PENDING = "pending"  #: to be sent, now or at next_attempt_at
    SYNCED = "synced"  #: CustomerGauge holds the latest payload
    REJECTED = "rejected"  #: refused, by CustomerGauge or by our own rules; a person must look
    ACCEPTED = "accepted"  #: rejected, and a person has said that it may stay so
    WAITING = "waiting"  #: its account does not exist in CustomerGauge yet
    HELD = "held"  #: the guard waits for a person
    GONE = "gone"  #: it is no longer in the source


REFUSED = (Status.REJECTED, Status.ACCEPTED)  #: what is not sent as it is


class Problem(NamedTuple):
    """Why a contract is refused: the field it is about (empty: the whole), and the reason."""

    field: str
    message: str


class SourceRow(NamedTuple):
    """One row: its id, whether it counts as gone, and the columns that the mapping reads."""

    source_id: SourceId
    gone: bool
    values: Sequence[object]


class Mapped(NamedTuple):
    """What a row means for CustomerGauge: never an exception, its problems are part of it."""

    source_id: SourceId
    gone: bool
    reference: Reference | None
    payload: Payload
    problems: tuple[Problem, ...]


class Known(NamedTuple):
    """What the state knows of a contract, as far as capture must know it."""

    source_id: SourceId
    reference: Reference | None
    payload: Payload
    acknowledged: Payload | None
    status: Status
    problems: tuple[Problem, ...]
    refused_by_us: bool
    in_doubt: bool
    ends_gone: bool


_canonical = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


_quoted = json.encoder.encode_basestring
_quoted_name = lru_cache(maxsize=16)(_quoted)


def payload_of(fields: Mapping[str, Field]) -> Payload:
    """The canonical JSON text: sorted keys, no spaces, so that equal contracts are equal texts."""
    # By hand, because the encoder of `json` is built anew for each call and costs as much again.
    pairs = [
        f"{_quoted_name(name)}:{'null' if value is None else _quoted(value)}"
        for name, value in sorted(fields.items())
    ]
    return Payload(f"{{{','.join(pairs)}}}")


def fields_of(payload: Payload | None) -> dict[str, Field]:
    """The fields of a payload; none for no payload."""
    return {} if payload is None else orjson.loads(payload)


def body_of(reference: Reference, payload: Payload) -> bytes:
    """The JSON body of PUT /contracts, spliced from the stored text."""
    return f'{{"reference":{_quoted(reference)},{payload[1:]}'.encode()


def changed_fields(old: Payload | None, new: Payload) -> FieldDiff:
    """What differs, field by field, as (old, new); every field where there was no old one."""
    before, after = fields_of(old), fields_of(new)
    return {
        name: (before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if name not in before or name not in after or before[name] != after[name]
    }


def encode_id(values: Sequence[object]) -> SourceId:
    """The text by which people and the state call a row; of a composite key a JSON array."""
    if len(values) == 1:
        value = values[0]
        return SourceId(str(value) if type(value) is int else _storable(printable(value)))
    return SourceId(_storable(_canonical([_json_form(value) for value in values])))


def _storable(text: str) -> str:
    # No database keeps NUL or a lone surrogate in a text; such an id is written escaped.
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def canonical_id(text: str) -> str:
    """A source id as the state has it: a composite key may be written as any JSON array."""
    if not text.startswith("["):
        return text
    try:
        return _canonical(json.loads(text))
    except ValueError:
        return text


def decode_id(source_id: str, columns: int) -> tuple[str, ...] | None:
    """The parts of a source id as texts, or None where it cannot be one of so many columns."""
    if columns == 1:
        return (source_id,)
    try:
        parts = json.loads(source_id)
    except ValueError:
        return None
    if not isinstance(parts, list) or len(parts) != columns:
        return None
    return tuple(str(part) for part in parts)


def _json_form(value: object) -> object:
    return value if isinstance(value, int) and not isinstance(value, bool) else printable(value)


def printable(value: object) -> str:
    """A value of the source as text, the same for equal values."""
    if type(value) is str:
        text = value
    elif type(value) is int:
        text = str(value)  # the commonest id there is, before the rarer kinds are asked for
    elif isinstance(value, datetime | date):
        text = value.isoformat()
    elif isinstance(value, Decimal):
        text = format(value, "f")
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value).hex()
    else:
        text = str(value)
    return text


class _Digits(str):
    """A number of a JSON text, with the digits that it has there."""

    __slots__ = ()


def canonical_json(text: str) -> object:
    """A JSON text with its keys sorted and no spaces; what is no array or object, as its value."""
    try:
        if not text.lstrip().startswith(("{", "[")):
            return json.loads(text)
        return _canonical_text(json.loads(text, parse_int=_Digits, parse_float=_Digits))
    except (ValueError, RecursionError):
        return text


def _canonical_text(value: object) -> str:
    if isinstance(value, _Digits):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(name)}:{_canonical_text(value[name])}" for name in sorted(value))
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_canonical_text, value))}]"
    return _canonical(value)


def problems_to_json(problems: Iterable[Problem]) -> str:
    """Problems as the `last_error` column keeps them: a list of {field, message}."""
    return json.dumps([problem._asdict() for problem in problems], ensure_ascii=False)


def problems_from_json(text: str | None) -> tuple[Problem, ...]:
    """The reverse of `problems_to_json`; none for NULL."""
    if text is None:
        return ()
    return tuple(Problem(item["field"], item["message"]) for item in json.loads(text))
