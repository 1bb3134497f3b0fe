"""The status page as an ASGI application: its addresses, behind the AccessMiddleware."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cdc_sync.errors import CdcSyncError, UserMistake
from cdc_sync.operations.status import public_document
from cdc_sync.web import actions, pages
from cdc_sync.web.access import LOGIN, AccessMiddleware, read_form
from cdc_sync.web.context import PageContext, PageRequest, unhealthy_reason
from cdc_sync.web.live import Live
from cdc_sync.web.metrics import SyncCollector
from cdc_sync.web.overview import Overview
from cdc_sync.web.render import hide_folders, page

log = structlog.get_logger()
ASSETS = Path(__file__).with_name("assets")
AT_A_TIME = 4  # requests in work: delivery shares the interpreter and the state with them
QUICK_AT_A_TIME = 2  # of those that a monitor or a log-in waits for, whatever the others do
View: TypeAlias = Callable[[PageRequest], Response]


def status_app(context: PageContext) -> ASGIApp:
    """Returns the application of one running sync."""
    reading, quick = CapacityLimiter(AT_A_TIME), CapacityLimiter(QUICK_AT_A_TIME)
    # An action waits while another process writes to the state: no page waits behind it.
    acting = CapacityLimiter(AT_A_TIME)
    overview = Overview(context)
    routes = [
        *_routes(context, "GET", QUICK_VIEWS, quick),
        *_routes(context, "POST", QUICK_ACTIONS, quick),
        *_routes(context, "GET", {"/": overview.page, **VIEWS}, reading),
        *_routes(context, "POST", ACTIONS, acting),
        Route("/live", Live(context, overview, reading).stream),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]
    report = partial(_report_error, context)
    errors = (CdcSyncError, HTTPException, Exception)
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys(errors, report))
    host = (context.config.web.listen or "").rpartition(":")[0]
    return AccessMiddleware(app, host, context.secret, context.now)


def _routes(
    context: PageContext, method: str, views: Mapping[str, View], limiter: CapacityLimiter
) -> list[Route]:
    """Returns a route for each view, which runs in a thread; `limiter` bounds them together."""

    async def respond(view: View, request: Request) -> Response:
        form = await read_form(request) if method == "POST" else {}
        work = partial(view, PageRequest(context, request, form))
        return await to_thread.run_sync(work, limiter=limiter)

    return [Route(path, partial(respond, view), methods=[method]) for path, view in views.items()]


def status(request: PageRequest) -> Response:
    """`status --json`, key for key."""
    return JSONResponse(public_document(request.context.snapshots.latest()))


def healthz(request: PageRequest) -> Response:
    """200 while polls succeed and workers progress; else 503 with the reason."""
    context = request.context
    reason = unhealthy_reason(context.health(), context.config.schedule.poll, context.now())
    return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)


def metrics(request: PageRequest) -> Response:
    """The metrics in the text format of Prometheus."""
    text = generate_latest(SyncCollector(request.context))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


QUICK_VIEWS: dict[str, View] = {
    "/healthz": healthz,
    "/metrics": metrics,
    LOGIN: pages.login_form,
}
VIEWS: dict[str, View] = {
    "/api/status": status,
    "/contracts": pages.contracts,
    "/contract": pages.contract,
    "/refusals": pages.refusals,
    "/guard": pages.guard,
    "/watermark": pages.watermark,
    "/watermark/preview": pages.redirect_to_watermark,
    "/runs": pages.runs,
    "/log": pages.log,
    "/configuration": pages.configuration,
}
QUICK_ACTIONS: dict[str, View] = {LOGIN: pages.log_in, "/logout": pages.log_out}
ACTIONS: dict[str, View] = {
    "/pause": actions.pause,
    "/resume": actions.resume,
    "/retry": actions.retry,
    "/resend": actions.resend,
    "/accept": actions.accept,
    "/accept/undo": actions.withdraw,
    "/approve": actions.approve,
    "/discard": actions.discard,
    "/reconcile": actions.reconcile,
    "/watermark/preview": actions.preview,
    "/watermark/rewind": actions.rewind,
}


async def _report_error(context: PageContext, request: Request, error: Exception) -> Response:
    headers = None
    if isinstance(error, HTTPException):
        code, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, CdcSyncError):
        code, message = 400 if isinstance(error, UserMistake) else 503, hide_folders(error)
    else:
        log.error("page.failed", path=request.url.path, exc_info=error)
        code, message = 500, "This is a defect of ours; the log has it."
    if request.url.path.startswith("/api/"):
        response: Response = JSONResponse({"message": message}, code)
    elif "text/html" in request.headers.get("accept", ""):
        response = page(PageRequest(context, request, {}), "error.html", code, message=message)
    else:
        response = PlainTextResponse(f"{message}\n", code)
    response.headers.update(headers or {})
    return response
