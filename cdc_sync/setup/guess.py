"""Guesses, from names and types alone, which table holds the contracts and which column is what.

Nobody is bound to them: `init` shows each guess, and a person or a flag decides.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdc_sync.source.dialects.base import DeclaredType
from cdc_sync.source.inspection import CatalogColumn, CatalogTable

_PREFIX = "erp"  # where the database's own name would be no name to read
_PREFIX_MAX = 20


@dataclass(frozen=True, slots=True)
class Proposal:
    """What each key of the configuration would be; None where nothing looks right."""

    table: str
    id: tuple[str, ...] | None
    watermark: str | None
    account: str | None
    start: str | None
    end: str | None
    description: str | None
    indexed: bool  #: whether an index begins with the watermark
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
_VAGUELY = (r".*(upda|modif|chang|touch|systemmodstamp|geaendert|gewijzigd|actualiz|maj).*",)
_ONCE = re.compile(r".*(creat|insert|birth|dele|born|entered|signed|archi|import).*")
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
_ASIDE = re.compile(r".*(archi|histor|audit|backup|_old|old_|_bak|_log|log_|tmp|temp|stag|copy).*")


def propose(table: CatalogTable) -> Proposal:
    """The likeliest meaning of each column; none is used for two dates at a time."""
    start = _guess(table.columns, _START, _DATES)
    end = _guess(table.columns, _END, _DATES, but=(start,))
    watermark = _watermark(table, (start, end))
    return Proposal(
        table=table.name,
        id=_key(table),
        watermark=watermark,
        account=_guess(table.columns, _ACCOUNT, _TEXTS),
        start=start,
        end=end,
        description=_guess(table.columns, _DESCRIPTION, _TEXTS),
        indexed=any(index[0] == watermark for index in (*table.indexes, *table.keys)),
        is_view=table.is_view,
    )


def in_order(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Those with a key and a watermark, the one that looks most like contracts first."""
    usable = [one for one in proposals if one.id and one.watermark]
    return sorted(usable, key=lambda one: (-_likeness(one), one.table))


def looks_right(proposal: Proposal) -> bool:
    """Whether a table looks like contracts, and not merely like the best of them."""
    return bool(proposal.account and proposal.start) and not _ASIDE.fullmatch(
        _snake(proposal.table)
    )


def reference_of(database: str | None, key: Sequence[str]) -> str:
    """A template for references, with the database's name as the prefix of its own."""
    slug = re.sub(r"[^a-z0-9]+", "-", (database or "").lower()).strip("-")
    prefix = slug if 0 < len(slug) <= _PREFIX_MAX else _PREFIX
    return "-".join([prefix, *(f"{{{name}}}" for name in key)])


def _likeness(one: Proposal) -> int:
    name = _snake(one.table.rpartition(".")[2])
    rank = _rank(name, _CONTRACTS)
    points = 0 if rank is None else 8 - 2 * rank
    points += 3 * sum(guess is not None for guess in (one.account, one.start))
    points += sum((one.end is not None, one.indexed))
    return points - (10 if _ASIDE.fullmatch(name) else 0)


def _key(table: CatalogTable) -> tuple[str, ...] | None:
    if table.keys:
        return table.keys[0]
    column = _guess(table.columns, _KEY, (DeclaredType.NUMBER, *_TEXTS, DeclaredType.OTHER))
    return None if column is None else (column,)


def _watermark(table: CatalogTable, taken: Sequence[str | None]) -> str | None:
    likely = [one for one in table.columns if not _ONCE.fullmatch(_snake(one.name))]
    named = _guess(likely, _WATERMARK, (*_TIMES, DeclaredType.NUMBER), but=taken)
    if named := named or _guess(likely, _VAGUELY, _TIMES, but=taken):
        return named
    times = [
        one.name for one in likely if one.type is DeclaredType.TIMESTAMP and one.name not in taken
    ]
    return times[0] if len(times) == 1 else None


def _guess(
    columns: Sequence[CatalogColumn],
    patterns: Sequence[str],
    held: Sequence[DeclaredType],
    but: Sequence[str | None] = (),
) -> str | None:
    """The column whose name comes first in the patterns, and then whose type in `held`."""
    found = [
        (rank, held.index(column.type), place)
        for place, column in enumerate(columns)
        if column.type in held
        and column.name not in but
        and (rank := _rank(_snake(column.name), patterns)) is not None
    ]
    return columns[min(found)[2]].name if found else None


def _rank(name: str, patterns: Sequence[str]) -> int | None:
    return next((at for at, pattern in enumerate(patterns) if re.fullmatch(pattern, name)), None)


def _snake(name: str) -> str:
    """LastModifiedDate, LAST-MODIFIED DATE: last_modified_date."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
