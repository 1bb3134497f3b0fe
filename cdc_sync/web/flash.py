"""Flash messages: what an action did, shown once on the page that follows.

They travel in a cookie, as a code and a count, so that a link cannot forge one.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync.web.access import cookie_name
from cdc_sync.wording import format_count

LIFETIME = 30  # seconds: until the page that follows has been loaded
#: by the code in the cookie; `{}` is the count, as "3 contracts are"
MESSAGES = {
    "paused": "Delivery is paused. The source is still read.",
    "resumed": "Delivery goes on.",
    "retried": "{} due now.",
    "resent": "{} due now, to be sent once more.",
    "accepted": "{} accepted, until the payload or the reason changes.",
    "withdrawn": "{} rejected again.",
    "approved": "{} released: on the way.",
    "discarding": "What is held is dropped and read again from the source: that takes a moment.",
    "reconciling": "Everything is compared: see the runs.",
    "released": "Nothing is held any more; nothing was changed.",
    "changed": "Meanwhile it is another number: {} held now. Nothing was changed.",
    "mistyped": "That is not what was to be typed; nothing was changed.",
    "moved": "The watermark was moved. The daemon reads from there at its next poll.",
}


def redirect(request: Request, path: str, code: str, count: int = 0) -> Response:
    """Returns a redirect to a page, which will show the message of `code`."""
    response = RedirectResponse(path, 303)
    value = f"{code}.{count}"
    response.set_cookie(_cookie(request), value, max_age=LIFETIME, httponly=True, samesite="lax")
    return response


def read(request: Request) -> str | None:
    """Returns the message for this page, if any.

    None where a script asks for the page: another tab's may, and would take the message.
    """
    if request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return None
    code, _, count = request.cookies.get(_cookie(request), "").partition(".")
    return message(code, count)


def clear(request: Request, response: Response) -> None:
    """Deletes the cookie: the message has been shown."""
    response.delete_cookie(_cookie(request), httponly=True, samesite="lax")


def message(code: str, count: str) -> str | None:
    """Returns the text of a code; None for one that is none of ours."""
    if code not in MESSAGES:
        return None
    number = int(count) if count.isascii() and count.isdecimal() else 0
    return MESSAGES[code].format(format_count(number, "contract is", "contracts are"))


def _cookie(request: Request) -> str:
    return f"{cookie_name(request)}_said"
