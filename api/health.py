"""For load balancers, monitors and people: is the process alive, can it do its work, and what has it counted?"""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api import metrics
from api.http.dependencies import ServicesDep
from api.http.errors import MetricsTokenError, NoMetricsError, responses
from api.readiness import Readiness

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Always 200. Asks nothing else."""
    return Alive()


@router.get("/readyz", summary="Is everything ready?", responses={503: {"model": Readiness}})
async def readyz(services: ServicesDep, response: Response) -> Readiness:
    """200 when a worker, Redis and the database, writes included, are ready; 503 with the reason otherwise."""
    readiness = await services.readiness.current()
    response.status_code = 200 if readiness.ready else 503
    return readiness


@router.get(
    "/metrics",
    summary="What is counted, for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Prometheus' exposition format."},
        **responses(MetricsTokenError, NoMetricsError),
    },
)
async def show_metrics(services: ServicesDep, request: Request) -> Response:
    """Across all tenants, so no API key opens it: only the token of `PADSERVE_METRICS_TOKEN`, where one is set."""
    token = services.settings.metrics_token
    if token is None:
        raise NoMetricsError
    if not metrics.is_token(request.headers.get("Authorization", ""), token.get_secret_value()):
        raise MetricsTokenError(headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
    metrics.READY.set((await services.readiness.current()).ready)
    encode, media_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(await run_in_threadpool(encode, services.metrics), media_type=media_type)
