"""The stand-in for CustomerGauge as an ASGI application: its API, and what only a sandbox has."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cdc_sync.errors import UserMistake
from cdc_sync.sandbox.api import Endpoint, PutService, Tokens, TokenService
from cdc_sync.sandbox.faults import OFFERED, Faults, fault_of, parse_fault
from cdc_sync.sandbox.ledger import Entry, Ledger

ASSETS = Path(__file__).with_name("assets")
LOG_LIMIT = 1000  # entries an answer, unless asked for more or fewer
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
CONTRACTS_SHOWN = 200
PUTS_SHOWN = 30
REFUSALS_SHOWN = 20
REFUSALS_SOUGHT = 5000  # of the latest PUTs
FIELDS = ("reference", "account", "start", "end", "description")
PUT_HEAD = ("at", "path", "reference", "status", "applied", "fault")
REFUSAL_HEAD = ("at", "reference", "errors")
FAULT_HEAD = ("fault", "struck")
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


def sandbox_app(
    ledger: Ledger,
    faults: Faults | None = None,
    *,
    client_id: str = "sandbox",
    client_secret: str = "sandbox",  # noqa: S107  # it guards nothing
    token_seconds: float = 3600,
    strict_accounts: bool = False,
) -> Starlette:
    """Serve this ledger by the documented rules, struck by these faults."""
    faults = faults or Faults()
    tokens = Tokens(token_seconds)
    put_contract = partial(ledger.put_contract, strict_accounts=strict_accounts)
    contracts = PutService("contracts", put_contract, tokens, ledger)
    accounts = PutService("accounts", ledger.put_account, tokens, ledger)
    token = TokenService(tokens, ledger, client_id, client_secret)
    return Starlette(
        routes=[
            Route("/oauth2/token", Endpoint("token", token, faults), methods=["POST"]),
            Route("/contracts", Endpoint("contracts", contracts, faults), methods=["PUT"]),
            Route("/accounts", Endpoint("accounts", accounts, faults), methods=["PUT"]),
            *_own_routes(ledger, faults, tokens),
        ],
        exception_handlers={HTTPException: _laravel_error, UserMistake: _mistake},
    )


def _own_routes(ledger: Ledger, faults: Faults, tokens: Tokens) -> list[Route | Mount]:
    return [
        Route("/", partial(_page, ledger, faults)),
        Route("/dump", partial(_dump, ledger)),
        Route("/log", partial(_log, ledger)),
        Route("/faults", partial(_faults, faults), methods=["GET", "POST", "DELETE"]),
        Route("/faults/add", partial(_add_fault, ledger, faults), methods=["POST"]),
        Route("/faults/clear", partial(_clear_faults, faults), methods=["POST"]),
        Route("/revoke", partial(_revoke, tokens), methods=["POST"]),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]


async def _page(ledger: Ledger, faults: Faults, request: Request) -> Response:
    search = request.query_params.get("search", "")
    return HTMLResponse(render(ledger, faults.listed(), search), headers=PAGE_HEADERS)


async def _dump(ledger: Ledger, _request: Request) -> Response:
    return _json(ledger.dump())


async def _log(ledger: Ledger, request: Request) -> Response:
    after = _whole_number(request, "after", 0)
    limit = _whole_number(request, "limit", LOG_LIMIT)
    return _json([_document(entry) for entry in ledger.entries(after, limit)])


async def _faults(faults: Faults, request: Request) -> Response:
    if request.method == "DELETE":
        faults.replace([])
    elif request.method == "POST":
        faults.replace(map(fault_of, _listed(await request.body())))
    return _json(faults.listed())


async def _add_fault(ledger: Ledger, faults: Faults, request: Request) -> Response:
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    try:
        faults.add(parse_fault(" ".join(form.get("fault", []))))
    except UserMistake as mistake:
        page = render(ledger, faults.listed(), "", str(mistake))
        return HTMLResponse(page, 400, headers=PAGE_HEADERS)
    return RedirectResponse("/", 303)


async def _clear_faults(faults: Faults, _request: Request) -> Response:
    faults.replace([])
    return RedirectResponse("/", 303)


async def _revoke(tokens: Tokens, _request: Request) -> Response:
    tokens.revoke_all()
    return Response(status_code=204)


def _listed(raw: bytes) -> list[Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise UserMistake("The faults are not JSON.", hint="Send one fault or a list.") from error
    return document if isinstance(document, list) else [document]


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise UserMistake(f"{name} is {text!r}.", hint="It is a whole number from 0.")
    return int(text)


def _document(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"at": entry.at.isoformat().replace("+00:00", "Z")}


def _json(document: Any) -> Response:
    # Escaped to ASCII: what was sent may hold halves of surrogate pairs, which UTF-8 cannot.
    return Response(json.dumps(document), media_type="application/json")


async def _laravel_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"message": error.detail}, error.status_code, error.headers)


async def _mistake(_request: Request, error: Exception) -> Response:
    return JSONResponse({"message": str(error)}, 400)


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
