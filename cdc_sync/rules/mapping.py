"""Row to payload, and the documented rules of PUT /contracts."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from operator import itemgetter
from typing import TypeAlias
from zoneinfo import ZoneInfo

from cdc_sync.config.model import MappingConfig
from cdc_sync.config.template import Part, TemplateColumn, parse_template
from cdc_sync.contract import (
    Field,
    Mapped,
    Problem,
    Reference,
    SourceRow,
    payload_of,
    printable,
)

REFERENCE_MAX = 128  # characters; this and the next three: CustomerGauge's page "PUT Contracts"
ACCOUNT_MAX = 255
DESCRIPTION_MAX = 150
ACCOUNT_CREATED_MAX = 128  # characters of an account that PUT /accounts can make ("PUT Accounts")

RowMapper: TypeAlias = Callable[[SourceRow], Mapped]
_Values: TypeAlias = Sequence[object]
_Reader: TypeAlias = Callable[[_Values, list[Problem]], Field]

_UNSENDABLE = re.compile("[\0\ud800-\udfff]")
_DATE_START = re.compile(r"\d{4}-\d{2}-\d{2}(?:$|[T ])")


def mapped_columns(mapping: MappingConfig) -> tuple[str, ...]:
    """The source columns that the mapping reads, each once, in the order of their first use."""
    return tuple(mapped_fields(mapping))


def mapped_fields(mapping: MappingConfig) -> dict[str, str]:
    """The source columns that the mapping reads, and the field that each is read for first."""
    found: dict[str, str] = {}
    for field in ("reference", "account", "start", "end", "description"):
        text = getattr(mapping, field)
        for part in () if text is None else parse_template(text):
            if isinstance(part, TemplateColumn):
                found.setdefault(part.name, field)
    return found


def compile_mapping(
    mapping: MappingConfig, *, zone: ZoneInfo, clear_end_with: str, create_accounts: bool = False
) -> RowMapper:
    """A function from a source row to what it means.

    `zone` is where an instant becomes a date. The rules of the fields are those of the page
    "PUT Contracts"; a row that breaks one keeps a null in that field and gets a `Problem`.
    """
    account_max = ACCOUNT_CREATED_MAX if create_accounts else ACCOUNT_MAX
    places = {name: place for place, name in enumerate(mapped_columns(mapping))}
    reference_of = _reference_reader(mapping.reference, places, zone)
    readers: list[tuple[str, _Reader]] = [
        ("account", _account_reader(mapping.account, places, zone, account_max)),
        ("start", _date_reader("start", mapping.start, places, zone)),
    ]
    if mapping.end is not None:
        readers.append(("end", _date_reader("end", mapping.end, places, zone)))
    if mapping.description is not None:
        readers.append(("description", _description_reader(mapping, places, zone)))

    def map_row(row: SourceRow) -> Mapped:
        problems: list[Problem] = []
        reference = reference_of(row.values, problems)
        fields = {name: read(row.values, problems) for name, read in readers}
        _clear_end(fields, clear_end_with, problems)
        return Mapped(
            row.source_id,
            row.gone,
            Reference(reference) if reference is not None else None,
            payload_of(fields),
            tuple(problems),
        )

    return map_row


def _clear_end(fields: dict[str, Field], form: str, problems: list[Problem]) -> None:
    if "end" not in fields or fields["end"] is not None:
        return
    if form == "omit":
        del fields["end"]
    elif form == "empty" and not any(problem.field == "end" for problem in problems):
        fields["end"] = ""


def _reference_reader(text: str, places: Mapping[str, int], zone: ZoneInfo) -> _Reader:
    render = _renderer(text, places, zone)
    parts = parse_template(text)
    columns = [(part.name, places[part.name]) for part in parts if isinstance(part, TemplateColumn)]

    def read(values: _Values, problems: list[Problem]) -> Field:
        for name, place in columns:
            if values[place] is None:
                problems.append(Problem("reference", f"the column {name} is NULL"))
                return None
        return _checked("reference", render(values), REFERENCE_MAX, problems)

    return read


def _account_reader(text: str, places: Mapping[str, int], zone: ZoneInfo, longest: int) -> _Reader:
    render = _renderer(text, places, zone)

    def read(values: _Values, problems: list[Problem]) -> Field:
        return _checked("account", render(values), longest, problems)

    return read


def _description_reader(
    mapping: MappingConfig, places: Mapping[str, int], zone: ZoneInfo
) -> _Reader:
    render = _renderer(mapping.description or "", places, zone)
    truncates = mapping.description_overflow == "truncate"

    def read(values: _Values, problems: list[Problem]) -> Field:
        text = render(values)
        if truncates and len(text) > DESCRIPTION_MAX:
            text = text[:DESCRIPTION_MAX]
        return _checked("description", text, DESCRIPTION_MAX, problems) if text else ""

    return read


def _checked(field: str, text: str, longest: int, problems: list[Problem]) -> Field:
    if not text:
        problems.append(Problem(field, "must not be empty"))
    elif len(text) > longest:
        problems.append(Problem(field, f"has {len(text)} characters, at most {longest} are taken"))
    elif not text.isprintable() and _UNSENDABLE.search(text):  # the one is quick, and often true
        problems.append(
            Problem(field, "holds a character that cannot be sent (NUL or half a pair)")
        )
    else:
        return text
    return None


def _date_reader(field: str, text: str, places: Mapping[str, int], zone: ZoneInfo) -> _Reader:
    parts = parse_template(text)
    required = field == "start"
    value_of: Callable[[_Values], object] = _renderer(text, places, zone)
    if len(parts) == 1 and isinstance(parts[0], TemplateColumn):
        value_of = itemgetter(places[parts[0].name])

    def read(values: _Values, problems: list[Problem]) -> Field:
        value = value_of(values)
        if type(value) is date:
            return value.isoformat()
        if value is None or (isinstance(value, str) and not value.strip()):
            if required:
                problems.append(Problem(field, "must not be empty"))
            return None
        day = _day_of(value, zone)
        if day is None:
            problems.append(Problem(field, f"{printable(value)[:40]!r} is not a date (YYYY-MM-DD)"))
        return day

    return read


def _day_of(value: object, zone: ZoneInfo) -> str | None:
    """The day as Y-m-d: of a date, of an instant in `zone`, of an ISO text; None for any other."""
    if isinstance(value, datetime):
        local = value if value.tzinfo is None else value.astimezone(zone)
        return local.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) and _DATE_START.match(text := value.strip()):
        try:
            return _day_of(datetime.fromisoformat(text), zone)
        except (ValueError, OverflowError):
            return None
    return None


def _renderer(text: str, places: Mapping[str, int], zone: ZoneInfo) -> Callable[[_Values], str]:
    """A template as a function: NULL is empty text, an instant its date, both ends stripped."""
    parts = parse_template(text)
    if len(parts) == 1 and isinstance(parts[0], TemplateColumn):
        place = places[parts[0].name]
        return lambda values: _text_of(values[place], zone).strip()
    form = "".join(_form(part) for part in parts)
    columns = [places[part.name] for part in parts if isinstance(part, TemplateColumn)]

    def render(values: _Values) -> str:
        return (form % tuple([_text_of(values[place], zone) for place in columns])).strip()

    return render


def _form(part: Part) -> str:
    return "%s" if isinstance(part, TemplateColumn) else part.replace("%", "%%")


def _text_of(value: object, zone: ZoneInfo) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _day_of(value, zone) or ""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return printable(value)
