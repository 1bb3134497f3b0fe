"""The pages to read, but for the overview: each looks something up and renders its template."""

import platform
from typing import Any

from starlette.responses import RedirectResponse, Response

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
from cdc_sync.web.access import SESSION_LIFETIME, cookie_name, safe_path
from cdc_sync.web.context import PageRequest
from cdc_sync.web.render import page

LISTED = 50
LINES_SHOWN = 400
MOVES_SHOWN = 100
LONGEST_SOUGHT = 300  # characters
_LEVELS = {"all": (), "warning": ("warning", "error", "critical")}


def contracts(request: PageRequest) -> Response:
    """Contracts by status, or those that a text finds."""
    sought = request.query.get("q", "").strip()[:LONGEST_SOUGHT]
    asked, after = request.query.get("status"), request.query.get("after") or None
    status = Status(asked) if asked in set(Status) else None
    found = {"more": False, "next": None}
    if sought:
        found |= find_contracts(request.state, sought, LISTED, status)
    else:
        found |= list_contracts(request.state, status, after, LISTED)
    counts = request.context.snapshots.recent()["contracts"]
    chosen = {"sought": sought, "status": status, "after": after, "counts": counts}
    return page(request, "contracts.html", **found, **chosen)


def contract(request: PageRequest) -> Response:
    """One contract's timeline; for one that is not known, the reason."""
    name = request.query.get("id", "").strip()[:LONGEST_SOUGHT]
    if not name:
        return RedirectResponse("/contracts", 303)
    known = show_contract(request.state, name)
    why = None if known else _explain_unknown(request, name)
    return page(request, "contract.html", 200 if known else 404, contract=known, name=name, why=why)


def _explain_unknown(request: PageRequest, name: str) -> str:
    context = request.context
    try:
        return context.source_queries.run(
            lambda: explain_unknown(context.state, name, lambda: context.config)
        )
    except SourceUnavailable as error:
        return f"The state does not know {name}. Why, the source could not be asked: {error}"


def refusals(request: PageRequest) -> Response:
    """Refusals by their reason, and the accounts that are waited for."""
    groups = {
        str(status): group_stuck(request.state, status)
        for status in (Status.REJECTED, Status.WAITING)
    }
    return page(request, "refusals.html", most=MOST, **groups)


def guard(request: PageRequest) -> Response:
    """What the guard holds."""
    config = request.context.config
    return page(
        request,
        "guard.html",
        hold=held_document(request.state),
        ends=config.deletes.policy == "end",
        share=config.model_dump(mode="json")["guard"]["max_changes"],
    )


def watermark(request: PageRequest) -> Response:
    """Where the watermark stands, and who moved it."""
    return show_watermark(request)


def show_watermark(request: PageRequest, code: int = 200, /, **rewind: Any) -> Response:
    """Returns the page of the watermark, with what is known of a rewind."""
    none = {"move": None, "by": "", "reason": "", "mistake": None}
    mark = request.context.snapshots.latest()["watermark"]
    moves = list_moves(request.state, MOVES_SHOWN)["moves"]
    return page(request, "watermark.html", code, mark=mark, moves=moves, **none | rewind)


def redirect_to_watermark(_request: PageRequest) -> Response:
    """Leads to the form: only that one asks for a preview, by a POST."""
    return RedirectResponse("/watermark", 303)


def runs(request: PageRequest) -> Response:
    """Polls that found something, full scans, and their errors."""
    with request.state.read() as tx:
        found = history.list_runs(tx, whole_number(request.query.get("before")), LISTED + 1)
    following = found[LISTED - 1]["id"] if len(found) > LISTED else None
    status = request.context.snapshots.recent()
    return page(request, "runs.html", runs=found[:LISTED], next=following, status=status)


def log(request: PageRequest) -> Response:
    """The log of the last hour."""
    level = request.query.get("level", "all")
    levels = _LEVELS.get(level, ())
    lines = [one for one in request.context.recent.lines() if not levels or one.level in levels]
    return page(request, "log.html", lines=lines[:LINES_SHOWN], found=len(lines), level=level)


def configuration(request: PageRequest) -> Response:
    """The configuration in force; every secret is masked."""
    return page(
        request,
        "configuration.html",
        sections=request.context.config.model_dump(mode="json"),
        python=platform.python_version(),
        engine=request.state.backend,
    )


def login_form(request: PageRequest) -> Response:
    """Asks for the token."""
    return _login(request, request.query.get("next"))


def log_in(request: PageRequest) -> Response:
    """Takes the token, and gives a cookie for it."""
    form, secret = request.form, request.context.secret
    if not secret.is_token(form.get("token", "").strip()):
        return _login(request, form.get("next"), is_wrong=True)
    response = RedirectResponse(safe_path(form.get("next")), 303)
    response.set_cookie(
        cookie_name(request.http),
        secret.cookie(request.context.now()),
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",  # a link from a chat leads to somebody who is logged in
        secure=request.http.headers.get("x-forwarded-proto") == "https",
    )
    return response


def log_out(request: PageRequest) -> Response:
    """Deletes the cookie."""
    response = RedirectResponse("/", 303)
    response.delete_cookie(cookie_name(request.http), httponly=True, samesite="lax")
    return response


def _login(request: PageRequest, following: str | None, *, is_wrong: bool = False) -> Response:
    code = 401 if is_wrong else 200
    is_set = request.context.secret.is_set
    following = safe_path(following)
    return page(request, "login.html", code, wrong=is_wrong, is_set=is_set, next=following)


def whole_number(text: str | None) -> int | None:
    """Returns the number that a text is; None for another text, or one beyond 64 bits."""
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) < 19
    return int(text) if text and is_number else None
