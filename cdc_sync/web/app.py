"""The status page as an ASGI application: its addresses, behind the AccessMiddleware."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

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
from cdc_sync.web.access import (
    LOGIN,
    AccessMiddleware,
    Form,
    LoginThrottle,
    client_address,
    read_form,
)
from cdc_sync.web.context import PageContext, unhealthy_reason
from cdc_sync.web.live import Live
from cdc_sync.web.metrics import SyncCollector
from cdc_sync.web.overview import Overview
from cdc_sync.web.render import hide_folders, page

log = structlog.get_logger()
ASSETS = Path(__file__).with_name("assets")
AT_A_TIME = 4  # requests in work: delivery shares the interpreter and the state with them
QUICK_AT_A_TIME = 2  # of those that a monitor or a log-in waits for, whatever the others do
View: TypeAlias = Callable[[PageContext, Request], Response]
Action: TypeAlias = Callable[[PageContext, Request, Form], Response]
PAGES: dict[str, View] = {
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
ACTIONS: dict[str, Action] = {
    "/pause": actions.pause,
    "/resume": actions.resume,
    "/retry": actions.retry,
    "/resend": actions.resend,
    "/approve": actions.approve,
    "/discard": actions.discard,
    "/reconcile": actions.reconcile,
    "/watermark/preview": actions.preview,
    "/watermark/rewind": actions.rewind,
}


def status_app(context: PageContext) -> ASGIApp:
    """Returns the application of one running sync."""
    handlers: dict[Any, Any] = {
        CdcSyncError: partial(_expected_error, context),
        HTTPException: partial(_http_error, context),
        Exception: partial(_defect, context),
    }
    throttle = LoginThrottle()
    app = Starlette(routes=_Routes(context, throttle).all(), exception_handlers=handlers)
    host = (context.config.web.listen or "").rpartition(":")[0]
    return AccessMiddleware(app, host, context.secret, context.now, throttle)


class _Routes:
    """The routes; views and actions run in threads, so many at a time."""

    def __init__(self, context: PageContext, throttle: LoginThrottle) -> None:
        self._context = context
        self._throttle = throttle
        self._reading = CapacityLimiter(AT_A_TIME)
        # An action waits while another process writes to the state: no page waits behind it.
        self._acting = CapacityLimiter(AT_A_TIME)
        self._quick = CapacityLimiter(QUICK_AT_A_TIME)

    def all(self) -> list[Route | Mount]:
        overview = Overview(self._context)
        return [
            self._view("/api/status", status),
            self._view("/healthz", healthz, self._quick),
            self._view("/metrics", metrics, self._quick),
            self._view(LOGIN, pages.login_form, self._quick),
            Route(LOGIN, self._log_in, methods=["POST"]),
            self._action("/logout", pages.log_out, self._quick),
            self._view("/", overview.page),
            Route("/live", Live(self._context, overview, self._reading).stream),
            *(self._view(path, view) for path, view in PAGES.items()),
            *(self._action(path, action) for path, action in ACTIONS.items()),
            Mount("/assets", StaticFiles(directory=ASSETS)),
        ]

    def _view(self, path: str, view: View, limiter: CapacityLimiter | None = None) -> Route:
        async def respond(request: Request) -> Response:
            work = partial(view, self._context, request)
            return await to_thread.run_sync(work, limiter=limiter or self._reading)

        return Route(path, respond, methods=["GET"])

    def _action(self, path: str, action: Action, limiter: CapacityLimiter | None = None) -> Route:
        async def respond(request: Request) -> Response:
            return await self._act(action, request, limiter or self._acting)

        return Route(path, respond, methods=["POST"])

    async def _log_in(self, request: Request) -> Response:
        response = await self._act(pages.log_in, request, self._quick)
        if response.status_code == 401:
            await self._throttle.failed(client_address(request.scope))
        return response

    async def _act(self, action: Action, request: Request, limiter: CapacityLimiter) -> Response:
        work = partial(action, self._context, request, await read_form(request))
        return await to_thread.run_sync(work, limiter=limiter)


def status(context: PageContext, _request: Request) -> Response:
    """`status --json`, key for key."""
    return JSONResponse(public_document(context.snapshots.latest()))


def healthz(context: PageContext, _request: Request) -> Response:
    """200 while polls succeed and workers progress; else 503 with the reason."""
    reason = unhealthy_reason(context.health(), context.config.schedule.poll, context.now())
    return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)


def metrics(context: PageContext, _request: Request) -> Response:
    """Returns the metrics in the text format of Prometheus."""
    return Response(generate_latest(SyncCollector(context)), media_type=CONTENT_TYPE_LATEST)


async def _expected_error(context: PageContext, request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, UserMistake) else 503
    return _error(context, request, hide_folders(error), status)


async def _http_error(context: PageContext, request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    response = _error(context, request, error.detail, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _defect(context: PageContext, request: Request, error: Exception) -> Response:
    log.error("page.failed", path=request.url.path, exc_info=error)
    return _error(context, request, "This is a defect of ours; the log has it.", 500)


def _error(context: PageContext, request: Request, message: str, status: int) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"message": message}, status)
    if "text/html" in request.headers.get("accept", ""):
        return page(context, request, "error.html", {"words": message}, status)
    return PlainTextResponse(f"{message}\n", status)
