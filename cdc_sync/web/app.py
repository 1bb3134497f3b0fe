"""The page as an ASGI application: its addresses, and the door before all of them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cdc_sync.errors import CdcSyncError, UserMistake
from cdc_sync.operations.status import public
from cdc_sync.web import actions, pages
from cdc_sync.web.access import LOGIN, Door, Form, Guesses, Secret, address_of, form_of
from cdc_sync.web.context import Desk, unwell
from cdc_sync.web.live import Live
from cdc_sync.web.metrics import registry_of
from cdc_sync.web.overview import Overview
from cdc_sync.web.render import page, pathless

log = structlog.get_logger()
ASSETS = Path(__file__).with_name("assets")
AT_A_TIME = 4  # answers under way: delivery shares the interpreter and the state with them
QUICK_AT_A_TIME = 2  # and of those that a monitor or a log-in waits for, whatever the others do
Read = Callable[[Desk, Request], Response]
Act = Callable[[Desk, Request, Form], Response]
PAGES: dict[str, Read] = {
    "/contracts": pages.contracts,
    "/contract": pages.contract,
    "/refusals": pages.stuck,
    "/guard": pages.guard,
    "/watermark": pages.watermark,
    "/watermark/preview": pages.to_watermark,
    "/runs": pages.runs,
    "/log": pages.log,
    "/configuration": pages.configuration,
}
ACTIONS: dict[str, Act] = {
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


def status_app(desk: Desk) -> ASGIApp:
    """The whole of it, for one running sync."""
    secret = secret_of(desk)
    handlers: dict[Any, Any] = {
        CdcSyncError: partial(_unable, desk),
        HTTPException: partial(_http_error, desk),
        Exception: partial(_broken, desk),
    }
    guesses = Guesses()
    app = Starlette(routes=_Routes(desk, secret, guesses).all(), exception_handlers=handlers)
    host = (desk.config.web.listen or "").rpartition(":")[0]
    return Door(app, host, secret, desk.now, guesses)


def secret_of(desk: Desk) -> Secret:
    """What a visitor must know to act."""
    token = desk.config.web.token
    return Secret(None if token is None else token.get_secret_value())


class _Routes:
    def __init__(self, desk: Desk, secret: Secret, guesses: Guesses) -> None:
        self._desk = desk
        self._secret = secret
        self._guesses = guesses
        self._overview = Overview(desk)
        self._reading = CapacityLimiter(AT_A_TIME)
        # An action waits while another process writes to the state: no page waits behind it.
        self._acting = CapacityLimiter(AT_A_TIME)
        self._quick = CapacityLimiter(QUICK_AT_A_TIME)

    def all(self) -> list[Route | Mount]:
        return [
            self._read("/api/status", status),
            self._read("/healthz", healthz, self._quick),
            self._read("/metrics", metrics(registry_of(self._desk)), self._quick),
            self._read(LOGIN, pages.form(self._secret), self._quick),
            Route(LOGIN, self._log_in, methods=["POST"]),
            self._act("/logout", pages.log_out, self._quick),
            self._read("/", self._overview.answer),
            Route("/live", Live(self._desk, self._overview, self._reading).answer),
            *(self._read(path, read) for path, read in PAGES.items()),
            *(self._act(path, act) for path, act in ACTIONS.items()),
            Mount("/assets", StaticFiles(directory=ASSETS)),
        ]

    def _read(self, path: str, read: Read, lane: CapacityLimiter | None = None) -> Route:
        async def answer(request: Request) -> Response:
            work = partial(read, self._desk, request)
            return await to_thread.run_sync(work, limiter=lane or self._reading)

        return Route(path, answer, methods=["GET"])

    def _act(self, path: str, act: Act, lane: CapacityLimiter | None = None) -> Route:
        async def answer(request: Request) -> Response:
            work = partial(act, self._desk, request, await form_of(request))
            return await to_thread.run_sync(work, limiter=lane or self._acting)

        return Route(path, answer, methods=["POST"])

    async def _log_in(self, request: Request) -> Response:
        take = pages.log_in(self._secret)
        work = partial(take, self._desk, request, await form_of(request))
        answer = await to_thread.run_sync(work, limiter=self._quick)
        if answer.status_code == 401:
            await self._guesses.wrong(address_of(request.scope))
        return answer


async def _unable(desk: Desk, request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, UserMistake) else 503
    return _told(desk, request, pathless(error), status)


async def _http_error(desk: Desk, request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    answer = _told(desk, request, error.detail, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _broken(desk: Desk, request: Request, error: Exception) -> Response:
    log.error("page.failed", path=request.url.path, exc_info=error)
    return _told(desk, request, "This is a defect of ours; the log has it.", 500)


def _told(desk: Desk, request: Request, words: str, status: int) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"message": words}, status)
    if "text/html" in request.headers.get("accept", ""):
        return page(desk, request, "error.html", {"words": words}, status)
    return PlainTextResponse(f"{words}\n", status)


def status(desk: Desk, _request: Request) -> Response:
    """`status --json`, key for key."""
    return JSONResponse(public(desk.snapshots.latest()))


def healthz(desk: Desk, _request: Request) -> Response:
    """200 while polls succeed and workers progress; else 503 with the reason."""
    reason = unwell(desk.vitals(), desk.config.schedule.poll, desk.now())
    return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)


def metrics(registry: CollectorRegistry) -> Callable[[Desk, Request], Response]:
    """The metrics of a registry, in the text form of Prometheus."""

    def answer(_desk: Desk, _request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return answer
