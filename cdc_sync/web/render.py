"""Templates to answers: everything is escaped, and a missing name is a mistake."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cdc_sync import __version__
from cdc_sync.web import words
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
    text = TEMPLATES.get_template(template).render({**_surroundings(desk, request), **shown})
    return HTMLResponse(text, code)


def _without_notice(request: Request) -> str:
    kept = [pair for pair in request.query_params.multi_items() if pair[0] not in ("done", "n")]
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


def _surroundings(desk: Desk, request: Request) -> dict[str, Any]:
    """What every template may use."""
    visitor: Visitor = request.scope["state"]["visitor"]
    path, query = request.url.path, request.url.query
    return {
        "now": desk.now(),
        "visitor": visitor,
        "here": path,
        "asked": f"{path}?{query}" if query else path,
        "back": _without_notice(request),
        "sandbox_url": desk.sandbox_url,
        "can_log_in": desk.config.web.token is not None,
        "said": words.said(request.query_params.get("done"), request.query_params.get("n")),
    }
