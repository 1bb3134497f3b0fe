"""The sandbox's page: what it holds, what it was sent, what it refused, and the faults in force."""

from collections.abc import Iterable, Mapping
from html import escape
from itertools import islice
from typing import Any

from cdc_sync.sandbox.fault_text import OFFERED
from cdc_sync.sandbox.ledger import Entry, Ledger

CONTRACTS_SHOWN = 200
PUTS_SHOWN = 30
REFUSALS_SHOWN = 20
REFUSALS_SOUGHT = 5000  # of the latest PUTs
FIELDS = ("reference", "account", "start", "end", "description")


def render(ledger: Ledger, faults: list[dict[str, Any]], search: str, wrong: str = "") -> str:
    """Give the whole page; every text that came from outside is escaped.

    `wrong` is what was wrong with the fault that a person has written.
    """
    held = ledger.dump()
    contracts: Mapping[str, Mapping[str, Any]] = held["contracts"]
    found = [body for body in contracts.values() if _has(body, search)]
    latest = ledger.latest(REFUSALS_SOUGHT)
    refused = islice((entry for entry in latest if entry.errors), REFUSALS_SHOWN)
    counts = (len(contracts), len(held["accounts"]), held["puts"], held["tokens"])
    return PAGE.format(
        counts=_row("td", counts),
        search=escape(search),
        found=f"{len(found)} found, the first {CONTRACTS_SHOWN} shown",
        contracts=_table(FIELDS, (_contract(body) for body in found[:CONTRACTS_SHOWN])),
        puts=_table(PUT_HEAD, map(_put, latest[:PUTS_SHOWN])),
        refusals=_table(REFUSAL_HEAD, map(_refusal, refused)),
        faults=_table(FAULT_HEAD, map(_fault, faults)),
        wrong=f'<p class="wrong" role="alert">{_text(wrong)}</p>' if wrong else "",
        offered="\n".join(f'<button name="fault" value="{one}">{one}</button>' for one in OFFERED),
    )


PUT_HEAD = ("at", "path", "reference", "status", "applied", "fault")
REFUSAL_HEAD = ("at", "reference", "errors")
FAULT_HEAD = ("fault", "struck")


def _has(body: Mapping[str, Any], search: str) -> bool:
    sought = search.casefold()
    return any(sought in str(body.get(field, "")).casefold() for field in FIELDS)


def _contract(body: Mapping[str, Any]) -> Iterable[Any]:
    return (body.get(field) for field in FIELDS)


def _put(entry: Entry) -> Iterable[Any]:
    applied = "yes" if entry.applied else "no"
    return (_clock(entry), entry.path, entry.reference, entry.status, applied, entry.fault)


def _refusal(entry: Entry) -> Iterable[Any]:
    errors = " ".join(text for texts in entry.errors.values() for text in texts)
    return (_clock(entry), entry.reference, errors)


def _fault(told: Mapping[str, Any]) -> Iterable[Any]:
    words = [f"{name}={value}" for name, value in told.items() if name not in {"kind", "struck"}]
    return (" ".join([told["kind"], *words]), told["struck"])


def _clock(entry: Entry) -> str:
    return f"{entry.at:%H:%M:%S}"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    body = "\n".join(_row("td", row) for row in rows)
    return f"<table><thead>{_row('th', head)}</thead><tbody>\n{body}\n</tbody></table>"


def _row(cell: str, values: Iterable[Any]) -> str:
    cells = "".join(f"<{cell}>{_text(value)}</{cell}>" for value in values)
    return f"<tr>{cells}</tr>"


def _text(value: Any) -> str:
    # Half a surrogate pair is legal in JSON and cannot be sent as UTF-8.
    known = "" if value is None else str(value)
    return escape(known.encode("utf-8", "replace").decode("utf-8"))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>CustomerGauge sandbox</title>
<link rel="stylesheet" href="/assets/page.css">
<script src="/assets/page.js" defer></script>
</head>
<body>
<header>
<h1>CustomerGauge sandbox</h1>
<p>A stand-in on this machine. Nothing here reaches CustomerGauge.</p>
<form><label>Search <input name="search" type="search" value="{search}"></label></form>
</header>
<main>
<table class="counts">
<thead><tr><th>contracts</th><th>accounts</th><th>PUTs</th><th>tokens</th></tr></thead>
<tbody>{counts}</tbody>
</table>
<section><h2>Contracts</h2><p>{found}</p>{contracts}</section>
<section><h2>Last PUTs</h2>{puts}</section>
<section><h2>Refusals</h2>{refusals}</section>
<section><h2>Faults</h2>{faults}</section>
</main>
<section id="faults">
<h2>Let something go wrong</h2>
{wrong}
<form method="post" action="/faults/add">
<label>A fault <input name="fault" placeholder="status=503 share=10% times=3"></label>
<button>Add</button>
</form>
<form method="post" action="/faults/add">
{offered}
</form>
<form method="post" action="/faults/clear"><button>All well again</button></form>
</section>
</body>
</html>
"""
