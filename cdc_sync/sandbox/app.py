"""The stand-in for CustomerGauge as an ASGI application: its API, and what only a sandbox has."""

import json
from dataclasses import asdict
from functools import partial
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
from cdc_sync.sandbox.endpoints import Endpoint
from cdc_sync.sandbox.fault_text import fault_of, parse_fault
from cdc_sync.sandbox.faults import Faults
from cdc_sync.sandbox.ledger import Entry, Ledger
from cdc_sync.sandbox.page import render
from cdc_sync.sandbox.services import PutService, TokenService
from cdc_sync.sandbox.tokens import Tokens

ASSETS = Path(__file__).with_name("assets")
LOG_LIMIT = 1000  # entries an answer, unless asked for more or fewer
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


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
        raise UserMistake("The faults are not JSON.", mend="Send one fault or a list.") from error
    return document if isinstance(document, list) else [document]


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise UserMistake(f"{name} is {text!r}.", mend="It is a whole number from 0.")
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
