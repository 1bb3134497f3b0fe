"""The sandbox as an ASGI application: CustomerGauge's API, and what only a sandbox has."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cdc_sync.errors import UserMistake
from cdc_sync.sandbox.api import PutEndpoint, TokenEndpoint, Tokens, json_response
from cdc_sync.sandbox.faults import OFFERED, Faults, fault_from_json, parse_fault
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
PAGE = Environment(
    loader=PackageLoader("cdc_sync.sandbox"), autoescape=True, undefined=StrictUndefined
).get_template("page.html")


def sandbox_app(
    ledger: Ledger,
    faults: Faults | None = None,
    *,
    client_id: str = "sandbox",
    client_secret: str = "sandbox",  # noqa: S107  # it guards nothing
    token_seconds: float = 3600,
    strict_accounts: bool = False,
) -> Starlette:
    """Return an application that serves this ledger by the documented rules, with these faults."""
    faults = faults or Faults()
    tokens = Tokens(token_seconds)
    parts = (ledger, tokens, faults)
    token = TokenEndpoint("token", *parts, client_id, client_secret)
    contracts = PutEndpoint("contracts", *parts, strict_accounts)
    accounts = PutEndpoint("accounts", *parts)
    own = _OwnPaths(*parts)
    return Starlette(
        routes=[
            Route("/oauth2/token", token, methods=["POST"]),
            Route("/contracts", contracts, methods=["PUT"]),
            Route("/accounts", accounts, methods=["PUT"]),
            Route("/", own.page),
            Route("/dump", own.dump),
            Route("/log", own.log),
            Route("/faults", own.list_or_set_faults, methods=["GET", "POST", "DELETE"]),
            Route("/faults/add", own.add_fault, methods=["POST"]),
            Route("/faults/clear", own.clear_faults, methods=["POST"]),
            Route("/revoke", own.revoke, methods=["POST"]),
            Mount("/assets", StaticFiles(directory=ASSETS)),
        ],
        exception_handlers={HTTPException: _laravel_error, UserMistake: _mistake},
    )


@dataclass(frozen=True, slots=True)
class _OwnPaths:
    """What only a sandbox has: its page, what it holds, and its faults."""

    ledger: Ledger
    tokens: Tokens
    faults: Faults

    async def page(self, request: Request) -> Response:
        return self._rendered(200, request.query_params.get("search", ""))

    async def dump(self, _request: Request) -> Response:
        return json_response(200, self.ledger.dump())

    async def log(self, request: Request) -> Response:
        after = _whole_number(request, "after", 0)
        limit = _whole_number(request, "limit", LOG_LIMIT)
        return json_response(200, [_document(e) for e in self.ledger.entries(after, limit)])

    async def list_or_set_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.replace([])
        elif request.method == "POST":
            self.faults.replace(map(fault_from_json, _json_list(await request.body())))
        return json_response(200, self.faults.listed())

    async def add_fault(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        try:
            self.faults.add(parse_fault(" ".join(form.get("fault", []))))
        except UserMistake as mistake:
            return self._rendered(400, "", str(mistake))
        return RedirectResponse("/", 303)

    async def clear_faults(self, _request: Request) -> Response:
        self.faults.replace([])
        return RedirectResponse("/", 303)

    async def revoke(self, _request: Request) -> Response:
        self.tokens.revoke_all()
        return Response(status_code=204)

    def _rendered(self, status: int, search: str, mistake: str = "") -> Response:
        page = render(self.ledger, self.faults.listed(), search, mistake)
        return HTMLResponse(page, status, PAGE_HEADERS)


def _json_list(raw: bytes) -> list[Any]:
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


async def _laravel_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return json_response(error.status_code, {"message": error.detail}, error.headers)


async def _mistake(_request: Request, error: Exception) -> Response:
    return json_response(400, {"message": str(error)})


def render(ledger: Ledger, faults: list[dict[str, Any]], search: str, mistake: str = "") -> bytes:
    """Return the whole page; every text that came from outside is escaped.

    `mistake` is what was wrong with the fault that a person has written.
    """
    held = ledger.dump()
    found = [body for body in held["contracts"].values() if _contains(body, search)]
    latest = ledger.latest(REFUSALS_SOUGHT)
    refused = islice((entry for entry in latest if entry.errors), REFUSALS_SHOWN)
    page = PAGE.render(
        counts=(len(held["contracts"]), len(held["accounts"]), held["puts"], held["tokens"]),
        search=search,
        found=len(found),
        most=CONTRACTS_SHOWN,
        fields=FIELDS,
        contracts=[[body.get(name) for name in FIELDS] for body in found[:CONTRACTS_SHOWN]],
        puts=map(_put_cells, latest[:PUTS_SHOWN]),
        refusals=map(_refusal_cells, refused),
        faults=map(_fault_cells, faults),
        mistake=mistake,
        offered=OFFERED,
    )
    # Half a surrogate pair is legal in JSON and cannot be sent as UTF-8.
    return page.encode("utf-8", "replace")


def _contains(body: Mapping[str, Any], search: str) -> bool:
    sought = search.casefold()
    return any(sought in str(body.get(field, "")).casefold() for field in FIELDS)


def _put_cells(entry: Entry) -> tuple[object, ...]:
    applied = "yes" if entry.applied else "no"
    at = f"{entry.at:%H:%M:%S}"
    return (at, entry.path, entry.reference, entry.status, applied, entry.fault)


def _refusal_cells(entry: Entry) -> tuple[object, ...]:
    errors = " ".join(text for texts in entry.errors.values() for text in texts)
    return (f"{entry.at:%H:%M:%S}", entry.reference, errors)


def _fault_cells(fault: Mapping[str, Any]) -> tuple[object, ...]:
    words = [f"{name}={value}" for name, value in fault.items() if name not in {"kind", "struck"}]
    return (" ".join([fault["kind"], *words]), fault["struck"])
