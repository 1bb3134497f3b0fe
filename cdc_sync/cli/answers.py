"""What `init` shows and what its answers mean, as functions of values."""

from collections.abc import Mapping, Sequence

from cdc_sync.cli.words import shown, table
from cdc_sync.config.template import columns_of
from cdc_sync.contract import Mapped, fields_of
from cdc_sync.errors import UserMistake
from cdc_sync.rules.proposal import Proposal, looks_right
from cdc_sync.wording import counted, value_or_dash

LISTED = 12  # tables; the others can be named
ALONE = "leave alone"
FIELDS = ("account", "start", "end", "description")

Rows = tuple[int | None, bool]


def listing(proposals: Sequence[Proposal], rows: Sequence[Rows]) -> str:
    """The tables, numbered from 1, the likeliest first."""
    lines = [
        (
            str(number),
            one.table,
            _rows(count) if not one.is_view else "a view",
            f"{', '.join([*(one.id or ()), one.watermark or ''])} {_index(one)}",
            "← looks right" if number == 1 and looks_right(one) else "",
        )
        for number, (one, count) in enumerate(zip(proposals, rows, strict=False), 1)
    ]
    more = len(proposals) - len(lines)
    rest = f"\n  … and {more:,} more; the name of any table will do" if more else ""
    return (table(lines) if lines else "  none; the name of any table or view will do") + rest


def chosen(answer: str, proposals: Sequence[Proposal]) -> str:
    """The name of the table that a number, or a name, stands for."""
    number = int(answer) if answer.isdecimal() else 0
    return proposals[number - 1].table if 0 < number <= len(proposals) else answer


def mapping_question(guesses: Mapping[str, str | None]) -> str:
    """One question for the four fields, each with its guess."""
    said = ", ".join(f"{field} [{guesses[field] or _without(field)}]" for field in FIELDS)
    return said[0].upper() + said[1:]


def mapping_answer(answer: str, guesses: Mapping[str, str | None]) -> dict[str, str | None]:
    """What the answer makes of the guesses: `field=column`, or columns in the fields' order.

    Raises UserMistake for more of them than there are fields.
    """
    found = dict(guesses)
    parts = [part.strip() for part in answer.split(",")]
    named = [part.partition("=") for part in parts if "=" in part]
    if named:
        unknown = [name.strip() for name, _, _ in named if name.strip().lower() not in FIELDS]
        if unknown or len(named) < len(parts):
            raise UserMistake(f"Write field=column with one of {', '.join(FIELDS)} each time.")
        return found | {n.strip().lower(): template_of(value) for n, _, value in named}
    if len(parts) > len(FIELDS):
        raise UserMistake("These are more than four; write field=column for some of them.")
    return found | {f: template_of(part) for f, part in zip(FIELDS, parts, strict=False) if part}


def check_columns(templates: Mapping[str, str | None], columns: Sequence[str]) -> None:
    """Raises UserMistake for a template with a column that the table has not."""
    for key, template in templates.items():
        try:
            named = columns_of(template) if template else ()
        except ValueError as error:
            raise UserMistake(f"{key} {error}") from None
        for name in named:
            if name not in columns:
                raise UserMistake(
                    f"There is no column {name} for {key}.",
                    mend=f"There are: {', '.join(columns)}",
                )


def samples(rows: Sequence[Mapped]) -> str:
    """The first rows as payloads, or as what is wrong with them."""
    if not rows:
        return "  (no row yet)"
    return table([_sample(row) for row in rows])


def _sample(row: Mapped) -> tuple[str, ...]:
    fields = fields_of(row.payload)
    reference, account = row.reference or row.source_id, value_or_dash(fields.get("account"))
    if row.problems:
        said = "; ".join(f"{problem.field}: {problem.message}" for problem in row.problems)
        return reference, account, shown(said)
    dates = f"{fields.get('start')} … {fields.get('end') or 'open'}"
    description = fields.get("description")
    return reference, account, f"{dates}  {shown(description)}" if description else dates


def _rows(rows: Rows) -> str:
    count, exact = rows
    if count is None:
        return "cannot be counted"
    return counted(count, "row") if exact else f"about {counted(count, 'row')}"


def _index(one: Proposal) -> str:
    return "(indexed)" if one.indexed else "" if one.is_view else "(no index)"


def _without(field: str) -> str:
    return ALONE if field in ("end", "description") else "?"


def template_of(text: str) -> str | None:
    """A field's template; None for what leaves the field alone."""
    text = text.strip()
    return None if text in ("", "-", ALONE) else text
