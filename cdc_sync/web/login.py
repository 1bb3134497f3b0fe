"""Logging in: the token once, then a cookie made from it."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync.web.access import SESSION_LASTS, Secret, safe_path
from cdc_sync.web.desk import Desk
from cdc_sync.web.door import cookie_name
from cdc_sync.web.forms import Form
from cdc_sync.web.render import page


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
