"""The pages to read, but for the overview: each looks something up and renders its template."""

import platform
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync.config.write import effective
from cdc_sync.contract import Status
from cdc_sync.errors import SourceUnavailable
from cdc_sync.operations.actions import held_document
from cdc_sync.operations.contracts import (
    MOST,
    explain_unknown,
    find_contracts,
    group_stuck,
    list_contracts,
    show_contract,
)
from cdc_sync.operations.watermark import list_moves
from cdc_sync.state import history
from cdc_sync.web.access import SESSION_LIFETIME, Form, cookie_name, safe_path
from cdc_sync.web.context import PageContext
from cdc_sync.web.render import page

LISTED = 50
LINES_SHOWN = 400
MOVES_SHOWN = 100
LONGEST_SOUGHT = 300  # characters
_LEVELS = {"all": (), "warning": ("warning", "error", "critical")}


def contracts(context: PageContext, request: Request) -> Response:
    """Contracts by status, or those that a text finds."""
    asked = request.query_params
    sought = asked.get("q", "").strip()[:LONGEST_SOUGHT]
    status = Status(asked["status"]) if asked.get("status") in set(Status) else None
    if sought:
        found = {"next": None, **find_contracts(context.state, sought, LISTED, status)}
    else:
        listed = list_contracts(context.state, status, asked.get("after") or None, LISTED)
        found = {"more": False, **listed}
    counts = context.snapshots.recent()["contracts"]
    chosen = {"sought": sought, "status": status, "after": asked.get("after"), "counts": counts}
    return page(context, request, "contracts.html", found | chosen)


def contract(context: PageContext, request: Request) -> Response:
    """One contract's story; of one that is not known, why."""
    name = request.query_params.get("id", "").strip()[:LONGEST_SOUGHT]
    if not name:
        return RedirectResponse("/contracts", 303)
    story = show_contract(context.state, name)
    why = None if story else _why_unknown(context, name)
    variables = {"contract": story, "name": name, "why": why}
    return page(context, request, "contract.html", variables, 200 if story else 404)


def _why_unknown(context: PageContext, name: str) -> str:
    def ask() -> str:
        return explain_unknown(context.state, name, lambda: context.config)

    try:
        return context.source_queries.run(ask)
    except SourceUnavailable as error:
        return f"The state does not know {name}. Why, the source could not be asked: {error}"


def refusals(context: PageContext, request: Request) -> Response:
    """Refusals by their reason, and the accounts that are waited for."""
    variables = {
        "rejected": group_stuck(context.state, Status.REJECTED),
        "waiting": group_stuck(context.state, Status.WAITING),
        "most": MOST,
    }
    return page(context, request, "refusals.html", variables)


def guard(context: PageContext, request: Request) -> Response:
    """What the guard holds."""
    variables = {
        "hold": held_document(context.state),
        "ends": context.config.deletes.policy == "end",
        "share": effective(context.config)["guard"]["max_changes"],
    }
    return page(context, request, "guard.html", variables)


def watermark(context: PageContext, request: Request) -> Response:
    """Where the watermark stands, and who moved it."""
    return page(context, request, "watermark.html", watermark_variables(context))


def watermark_variables(context: PageContext) -> dict[str, Any]:
    """What the page of the watermark shows while nobody is about to move it."""
    return {
        "mark": context.snapshots.latest()["watermark"],
        "moves": list_moves(context.state, MOVES_SHOWN)["moves"],
        "move": None,
        "by": "",
        "reason": "",
        "mistake": None,
    }


def redirect_to_watermark(_context: PageContext, _request: Request) -> Response:
    """Leads to the form: only that one asks for a preview, by a POST."""
    return RedirectResponse("/watermark", 303)


def runs(context: PageContext, request: Request) -> Response:
    """Polls that found something, full scans, and their errors."""
    asked = request.query_params.get("before", "")
    before = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 19 else None
    with context.state.read() as tx:
        found = history.list_runs(tx, before, LISTED + 1)
    variables = {
        "runs": found[:LISTED],
        "next": found[LISTED - 1]["id"] if len(found) > LISTED else None,
        "status": context.snapshots.recent(),
    }
    return page(context, request, "runs.html", variables)


def log(context: PageContext, request: Request) -> Response:
    """The log of the last hour."""
    asked = request.query_params.get("level", "all")
    levels = _LEVELS.get(asked, ())
    lines = [line for line in context.recent.lines() if not levels or line.level in levels]
    variables = {"lines": lines[:LINES_SHOWN], "found": len(lines), "level": asked}
    return page(context, request, "log.html", variables)


def configuration(context: PageContext, request: Request) -> Response:
    """The configuration in force; every secret is masked."""
    variables = {
        "sections": effective(context.config),
        "python": platform.python_version(),
        "engine": context.state.backend,
    }
    return page(context, request, "configuration.html", variables)


def login_form(context: PageContext, request: Request) -> Response:
    """Asks for the token."""
    return _login(context, request, request.query_params.get("next"))


def log_in(context: PageContext, request: Request, form: Form) -> Response:
    """Takes the token, and gives a cookie for it."""
    if not context.secret.is_token(form.get("token", "").strip()):
        return _login(context, request, form.get("next"), is_wrong=True)
    response = RedirectResponse(safe_path(form.get("next")), 303)
    response.set_cookie(
        cookie_name(request.scope),
        context.secret.cookie(context.now()),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",  # a link from a chat leads to somebody who is logged in
        secure=request.headers.get("x-forwarded-proto") == "https",
    )
    return response


def log_out(_context: PageContext, request: Request, _form: Form) -> Response:
    """Forgets the cookie."""
    response = RedirectResponse("/", 303)
    response.delete_cookie(cookie_name(request.scope), httponly=True, samesite="lax")
    return response


def _login(
    context: PageContext, request: Request, then: str | None, *, is_wrong: bool = False
) -> Response:
    variables = {"wrong": is_wrong, "is_set": context.secret.is_set, "next": safe_path(then)}
    return page(context, request, "login.html", variables, 401 if is_wrong else 200)
