"""The pages to read, but for the overview: what each looks up, and the template that shows it."""

import platform
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync.config.write import effective
from cdc_sync.contract import Status
from cdc_sync.errors import SourceUnavailable
from cdc_sync.operations.actions import held_document
from cdc_sync.operations.contracts import (
    MOST,
    find_contracts,
    groups,
    list_contracts,
    story_of,
    why_unknown,
)
from cdc_sync.operations.watermark import moves_document
from cdc_sync.state import history
from cdc_sync.web.access import SESSION_LASTS, Form, Secret, cookie_name, safe_path
from cdc_sync.web.context import Desk
from cdc_sync.web.render import page

LISTED = 50
LINES_SHOWN = 400
MOVES_SHOWN = 100
LONGEST_SOUGHT = 300  # characters
_LEVELS = {"all": (), "warning": ("warning", "error", "critical")}


def contracts(desk: Desk, request: Request) -> Response:
    """Contracts by status, or those that a text finds."""
    asked = request.query_params
    sought, status = asked.get("q", "").strip()[:LONGEST_SOUGHT], _status(asked.get("status"))
    if sought:
        found = {"next": None, **find_contracts(desk.state, sought, LISTED, status)}
    else:
        listed = list_contracts(desk.state, status, asked.get("after") or None, LISTED)
        found = {"more": False, **listed}
    counts = desk.snapshots.recent()["contracts"]
    chosen = {"sought": sought, "status": status, "after": asked.get("after"), "counts": counts}
    return page(desk, request, "contracts.html", found | chosen)


def contract(desk: Desk, request: Request) -> Response:
    """One contract's story; of one that is not known, why."""
    name = request.query_params.get("id", "").strip()[:LONGEST_SOUGHT]
    if not name:
        return RedirectResponse("/contracts", 303)
    told = story_of(desk.state, name)
    why = None if told else _why_unknown(desk, name)
    shown = {"contract": told, "name": name, "why": why}
    return page(desk, request, "contract.html", shown, 200 if told else 404)


def _why_unknown(desk: Desk, name: str) -> str:
    try:
        return desk.asking.ask(lambda: why_unknown(desk.state, name, lambda: desk.config))
    except SourceUnavailable as error:
        return f"The state does not know {name}. Why, the source could not be asked: {error}"


def stuck(desk: Desk, request: Request) -> Response:
    """Refusals by their reason, and the accounts that are waited for."""
    shown = {
        "rejected": groups(desk.state, Status.REJECTED),
        "waiting": groups(desk.state, Status.WAITING),
        "most": MOST,
    }
    return page(desk, request, "refusals.html", shown)


def guard(desk: Desk, request: Request) -> Response:
    """What the guard holds."""
    shown = {
        "hold": held_document(desk.state),
        "ends": desk.config.deletes.policy == "end",
        "share": effective(desk.config)["guard"]["max_changes"],
    }
    return page(desk, request, "guard.html", shown)


def watermark(desk: Desk, request: Request) -> Response:
    """Where the watermark stands, and who moved it."""
    return page(desk, request, "watermark.html", positions(desk))


def positions(desk: Desk) -> dict[str, Any]:
    """What the page of the watermark shows while nobody is about to move it."""
    return {
        "mark": desk.snapshots.latest()["watermark"],
        "moves": moves_document(desk.state, MOVES_SHOWN)["moves"],
        "move": None,
        "by": "",
        "reason": "",
        "mistake": None,
    }


def to_watermark(_desk: Desk, _request: Request) -> Response:
    """A preview is asked for by its form: who asks otherwise is led to the form."""
    return RedirectResponse("/watermark", 303)


def runs(desk: Desk, request: Request) -> Response:
    """Polls that found something, full scans, and their errors."""
    asked = request.query_params.get("before", "")
    before = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 19 else None
    with desk.state.read() as tx:
        found = history.list_runs(tx, before, LISTED + 1)
    shown = {
        "runs": found[:LISTED],
        "next": found[LISTED - 1]["id"] if len(found) > LISTED else None,
        "status": desk.snapshots.recent(),
    }
    return page(desk, request, "runs.html", shown)


def log(desk: Desk, request: Request) -> Response:
    """The log of the last hour."""
    asked = request.query_params.get("level", "all")
    levels = _LEVELS.get(asked, ())
    lines = [line for line in desk.recent.lines() if not levels or line.level in levels]
    shown = {"lines": lines[:LINES_SHOWN], "found": len(lines), "level": asked}
    return page(desk, request, "log.html", shown)


def configuration(desk: Desk, request: Request) -> Response:
    """The configuration in force; every secret is masked."""
    shown = {
        "sections": effective(desk.config),
        "python": platform.python_version(),
        "engine": desk.state.engine.dialect.name,
    }
    return page(desk, request, "configuration.html", shown)


def _status(text: str | None) -> Status | None:
    return Status(text) if text in set(Status) else None


def form(secret: Secret) -> Callable[[Desk, Request], Response]:
    """Asks for the token."""

    def ask(desk: Desk, request: Request) -> Response:
        return _asked(desk, request, secret, request.query_params.get("next"))

    return ask


def log_in(secret: Secret) -> Callable[[Desk, Request, Form], Response]:
    """Takes the token, and gives a cookie for it."""

    def take(desk: Desk, request: Request, given: Form) -> Response:
        if not secret.is_token(given.get("token", "").strip()):
            return _asked(desk, request, secret, given.get("next"), wrong=True)
        answer = RedirectResponse(safe_path(given.get("next")), 303)
        answer.set_cookie(
            cookie_name(request.scope),
            secret.cookie(desk.now()),
            max_age=int(SESSION_LASTS.total_seconds()),
            httponly=True,
            samesite="lax",  # a link from a chat leads to somebody who is logged in
            secure=request.headers.get("x-forwarded-proto") == "https",
        )
        return answer

    return take


def log_out(_desk: Desk, request: Request, _given: Form) -> Response:
    """Forgets the cookie."""
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(cookie_name(request.scope), httponly=True, samesite="lax")
    return answer


def _asked(
    desk: Desk, request: Request, secret: Secret, goes_to: str | None, *, wrong: bool = False
) -> Response:
    shown = {"wrong": wrong, "is_set": secret.is_set, "next": safe_path(goes_to)}
    return page(desk, request, "login.html", shown, 401 if wrong else 200)
