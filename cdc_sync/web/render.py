"""Templates to answers: everything is escaped, and a missing name is a mistake."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cdc_sync import __version__
from cdc_sync.web.access import Visitor, cookie_name
from cdc_sync.web.context import Desk
from cdc_sync.wording import (
    format_count,
    format_instant,
    format_problems,
    format_seconds,
    sort_fields,
)

NAVIGATION = (
    ("/", "Overview"),
    ("/contracts", "Contracts"),
    ("/refusals", "Refusals"),
    ("/guard", "Guard"),
    ("/watermark", "Watermark"),
    ("/runs", "Runs"),
    ("/log", "Log"),
    ("/configuration", "Configuration"),
)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("cdc_sync.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals.update(version=__version__, navigation=NAVIGATION)
    return made


_PATH = re.compile(r"(?<![\w:/.])/(?:[\w@+.~-]+/)+")
_SQLITE = re.compile(r"(sqlite:/{2,3})(?:[^/\s'\"]*/)+")
_COMMAND = re.compile(r": cdc-sync [^.]*$")
_INSTANT = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")
#: What was done, by the code that its cookie carries; `{}` is a count, as "3 contracts".
_DONE = {
    "paused": "Delivery is paused. The source is still read.",
    "resumed": "Delivery goes on.",
    "retried": "{} due now.",
    "resent": "{} due now, to be sent once more.",
    "approved": "{} released: on the way.",
    "discarding": "What is held is dropped and looked at afresh: that takes a moment.",
    "reconciling": "Everything is compared: see the runs.",
    "released": "Nothing is held any more; nothing was changed.",
    "changed": "Meanwhile it is another number: {} held now. Nothing was changed.",
    "mistyped": "That is not what was to be typed; nothing was changed.",
    "moved": "The watermark was moved. The daemon reads from there at its next poll.",
}


def ago(seconds: float | None) -> str:
    """How long ago."""
    return "—" if seconds is None else f"{format_seconds(seconds)} ago"


def instant(value: datetime | str | None) -> Markup:
    """A time: in UTC here, and in the viewer's zone where the page's script runs."""
    if value is None:
        return Markup("—")
    written = format_instant(value, "milliseconds")
    utc = f"{written[:10]} {written[11:19]} UTC"
    return Markup('<time datetime="{0}" title="{1}">{1}</time>').format(written, utc)


def isolated(text: Any) -> Markup:
    """What came from elsewhere: a direction that it sets ends with it."""
    return Markup("<bdi>{}</bdi>").format(text)


def number(value: float) -> str:
    """A count."""
    return f"{value:,}"


def pathless(text: object) -> str:
    """The text without the folders of this machine."""
    return _PATH.sub("…/", _SQLITE.sub(r"\1…/", str(text)))


def sentence_of(text: str, name: str) -> Markup:
    """A sentence of ours that ends with this name, and those after it."""
    before, found, after = text.partition(f" {name}.")
    if not found:
        return escape(text)
    return Markup("{} {}.{}").format(before, isolated(name), after)


def spoken(sentence: str) -> str:
    """A sentence without the command that it ends with: the page has a link or a button for it."""
    return _COMMAND.sub(".", sentence)


def timed(text: str) -> Markup:
    """A sentence with its times as everywhere on the page."""
    parts = _INSTANT.split(text)
    return Markup("").join(
        instant(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def value(text: Any) -> Any:
    """A field of a contract; a dash for none."""
    return Markup('<span class="none">—</span>') if text in (None, "") else text


FILTERS = {
    "instant": instant,
    "ago": ago,
    "duration": format_seconds,
    "number": number,
    "value": value,
    "problems": format_problems,
    "sort_fields": sort_fields,
    "pathless": pathless,
    "spoken": spoken,
    "counted": format_count,
    "isolated": isolated,
    "sentence_of": sentence_of,
    "timed": timed,
}
LASTS = 30  # seconds: until the page that follows has been loaded


def page(
    desk: Desk, request: Request, template: str, shown: Mapping[str, Any], code: int = 200
) -> Response:
    """A template with what it shows, as a whole page."""
    said = heard(request)
    known = {**_surroundings(desk, request), "said": said, **shown}
    answer = HTMLResponse(TEMPLATES.get_template(template).render(known), code)
    if said:
        forget(request, answer)
    return answer


def _surroundings(desk: Desk, request: Request) -> dict[str, Any]:
    """What every template may use."""
    visitor: Visitor = request.scope["state"]["visitor"]
    path, query = request.url.path, request.url.query
    return {
        "now": desk.now(),
        "visitor": visitor,
        "here": path,
        "asked": f"{path}?{query}" if query else path,
        "sandbox_url": desk.sandbox_url,
        "can_log_in": desk.config.web.token is not None,
    }


def said(code: str | None, count: str | None) -> str | None:
    """What was done, in words; None for a code that is none of ours."""
    known = _DONE.get(code or "")
    if known is None:
        return None
    number = int(count) if count and count.isascii() and count.isdecimal() else 0
    return known.format(format_count(number, "contract is", "contracts are"))


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


TEMPLATES = _environment()
