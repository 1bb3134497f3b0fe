"""What machines read: the status as JSON, the health, the metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cdc_sync.operations.status import public
from cdc_sync.web.desk import Desk
from cdc_sync.web.health import unwell


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
