"""Templates to answers: everything is escaped, and a missing name is a mistake."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cdc_sync import __version__
from cdc_sync.web import notices, words
from cdc_sync.web.access import Visitor
from cdc_sync.web.desk import Desk

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
    made.filters.update(words.FILTERS)
    made.globals.update(version=__version__, navigation=NAVIGATION)
    return made


TEMPLATES = _environment()


def page(
    desk: Desk, request: Request, template: str, shown: Mapping[str, Any], code: int = 200
) -> Response:
    """A template with what it shows, as a whole page."""
    said = notices.heard(request)
    known = {**_surroundings(desk, request), "said": said, **shown}
    answer = HTMLResponse(TEMPLATES.get_template(template).render(known), code)
    if said:
        notices.forget(request, answer)
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
