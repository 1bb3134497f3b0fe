"""Guesses from names and types which table holds the contracts, and which column is which field.

`init` shows each guess, and a person or an option decides.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdc_sync.source.dialects.base import DeclaredType, split_table
from cdc_sync.source.inspection import CatalogColumn, CatalogTable

_PREFIX = "erp"  # where the database's own name would be no name to read
_PREFIX_MAX = 20


@dataclass(frozen=True, slots=True)
class Proposal:
    """The likely value of each key of the configuration; None where no column looks right."""

    table: str
    id: tuple[str, ...] | None
    watermark: str | None
    account: str | None
    start: str | None
    end: str | None
    description: str | None
    indexed: bool | None  #: whether an index begins with the watermark; None: nobody can tell
    is_view: bool


_DATES = (DeclaredType.DATE, DeclaredType.TIMESTAMP, DeclaredType.ANY, DeclaredType.TEXT)
_TEXTS = (DeclaredType.TEXT, DeclaredType.ANY)
_TIMES = (DeclaredType.TIMESTAMP, DeclaredType.DATE, DeclaredType.ANY)
# Of each kind the names as people give them, the likeliest first; matched as snake_case.
_WATERMARK = (
    r"(last_)?(updated|modified|changed)(_at|_on|_ts|_time|_date|_timestamp|_datetime)?",
    r"(last_)?(update|modification|change)(_at|_on|_ts|_time|_date|_timestamp|_datetime|d)?",
    r"(row_?version|change_(id|number|seq|sequence)|modification_number|scn|lsn|mtime)",
)
_WEAK_WATERMARK = (r".*(upda|modif|chang|touch|systemmodstamp|geaendert|gewijzigd|actualiz|maj).*",)
_SET_ONCE = re.compile(r".*(creat|insert|birth|dele|born|entered|signed|archi|import).*")
_ACCOUNT = (
    r"account_name|customer_name|company_name|client_name",
    r"(account|customer|company|client|organi[sz]ation)",
    r".*(account|customer|company|client|organi[sz]ation)_?(name|title)",
    r"(legal_|full_|display_)?name|debtor|kunde|kundenname|klant|klantnaam|firma",
)
_START = (
    r"(contract_)?(start|begin)(s|_date|_day|_on|_at|s_on|s_at|ning)?",
    r"(valid|effective|active)_(from|since|date)|date_(start|from|begin)|(from|since)(_date)?",
    r".*(start|begin|commence|effective|activat|valid_?from).*",
    r".*ingang.*",
)
_END = (
    r"(contract_)?end(s|e|_date|_day|_on|_at|s_on|s_at|ing)?",
    r"valid_(to|until|till|thru)|date_(end|to|until)|(to|until)(_date)?",
    r"(expir|terminat)[a-z]*(_at|_on|_date)?",
    r".*(end_|_end|expir|terminat|valid_?(to|until)|einddatum|enddatum).*",
)
_DESCRIPTION = (r"(contract_)?description", r"(contract_)?(summary|subject|title|descr)")
_KEY = (r"id", r"(contract|subscription|agreement)_?(id|no|nr|number|key)", r"(uuid|guid|key)")
_CONTRACTS = (
    r"contracts?",
    r"(customer_|service_|client_)?(contracts?|subscriptions?|agreements?)",
    r".*(contract|subscription|agreement|vertr|maintenance|polic(y|ies)).*",
)
_ARCHIVE = re.compile(
    r".*(archi|histor|audit|backup|_old|old_|_bak|_log|log_|tmp|temp|stag|copy).*"
)


def propose(table: CatalogTable) -> Proposal:
    """Returns the likeliest meaning of each column; no column has the meaning of two dates."""
    start = _find_column(table.columns, _START, _DATES)
    end = _find_column(table.columns, _END, _DATES, exclude=(start,))
    watermark = _find_watermark(table, (start, end))
    return Proposal(
        table=table.name,
        id=_find_key(table),
        watermark=watermark,
        account=_find_column(table.columns, _ACCOUNT, _TEXTS),
        start=start,
        end=end,
        description=_find_column(table.columns, _DESCRIPTION, _TEXTS),
        indexed=None
        if table.indexes is None
        else any(index[0] == watermark for index in (*table.indexes, *table.keys)),
        is_view=table.is_view,
    )


def rank_proposals(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Returns those with a key and a watermark, the one that looks most like contracts first."""
    usable = [one for one in proposals if one.id and one.watermark]
    return sorted(usable, key=lambda one: (-_score(one), one.table))


def looks_like_contracts(proposal: Proposal) -> bool:
    """Whether a table looks like contracts by itself, and not only beside the others."""
    is_archive = _ARCHIVE.fullmatch(_snake_case(proposal.table))
    return bool(proposal.account and proposal.start) and not is_archive


def suggest_reference(database: str, key: Sequence[str]) -> str:
    """Returns a template for references, with the database's name as its prefix."""
    slug = re.sub(r"[^a-z0-9]+", "-", database.lower()).strip("-")
    prefix = slug if 0 < len(slug) <= _PREFIX_MAX else _PREFIX
    return "-".join([prefix, *(f"{{{name}}}" for name in key)])


def _score(one: Proposal) -> int:
    name = _snake_case(split_table(one.table)[1])
    rank = _match_rank(name, _CONTRACTS)
    points = 0 if rank is None else 8 - 2 * rank
    points += 3 * sum(guess is not None for guess in (one.account, one.start))
    points += sum((one.end is not None, bool(one.indexed)))
    return points - (10 if _ARCHIVE.fullmatch(name) else 0)


def _find_key(table: CatalogTable) -> tuple[str, ...] | None:
    if table.keys:
        return table.keys[0]
    types = (DeclaredType.NUMBER, *_TEXTS, DeclaredType.OTHER)
    column = _find_column(table.columns, _KEY, types)
    return None if column is None else (column,)


def _find_watermark(table: CatalogTable, exclude: Sequence[str | None]) -> str | None:
    versions = [one.name for one in table.columns if one.type is DeclaredType.VERSION]
    if versions:
        return versions[0]
    likely = [
        one
        for one in table.columns
        if one.name not in exclude and not _SET_ONCE.fullmatch(_snake_case(one.name))
    ]
    named = _find_column(likely, _WATERMARK, (*_TIMES, DeclaredType.NUMBER))
    if named := named or _find_column(likely, _WEAK_WATERMARK, _TIMES):
        return named
    times = [one.name for one in likely if one.type is DeclaredType.TIMESTAMP]
    return times[0] if len(times) == 1 else None


def _find_column(
    columns: Sequence[CatalogColumn],
    patterns: Sequence[str],
    types: Sequence[DeclaredType],
    exclude: Sequence[str | None] = (),
) -> str | None:
    """Returns the column whose name comes first in the patterns, and then its type in `types`."""
    found = [
        (rank, types.index(column.type), place)
        for place, column in enumerate(columns)
        if column.type in types
        and column.name not in exclude
        and (rank := _match_rank(_snake_case(column.name), patterns)) is not None
    ]
    return columns[min(found)[2]].name if found else None


def _match_rank(name: str, patterns: Sequence[str]) -> int | None:
    return next((at for at, pattern in enumerate(patterns) if re.fullmatch(pattern, name)), None)


def _snake_case(name: str) -> str:
    """LastModifiedDate, LAST-MODIFIED DATE: last_modified_date."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
