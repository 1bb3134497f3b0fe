"""What was done, told once on the page that an action leads to: no link can tell it falsely."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync.web.door import cookie_name
from cdc_sync.web.words import said

LASTS = 30  # seconds: until the page that follows has been loaded


def leading_to(request: Request, path: str, code: str, count: int | None = None) -> Response:
    """Leads to a page, which will say this."""
    answer = RedirectResponse(path, 303)
    answer.set_cookie(
        _name(request), f"{code}.{count or 0}", max_age=LASTS, httponly=True, samesite="lax"
    )
    return answer


def heard(request: Request) -> str | None:
    """What is to be said on this page; nothing where a script asks for it, in another tab maybe."""
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return None
    code, _, count = request.cookies.get(_name(request), "").partition(".")
    return said(code, count)


def forget(request: Request, answer: Response) -> None:
    """It has been said."""
    answer.delete_cookie(_name(request), httponly=True, samesite="lax")


def _name(request: Request) -> str:
    return f"{cookie_name(request.scope)}_said"
