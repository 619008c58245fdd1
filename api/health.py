"""For load balancers and people: is the process alive, and can it do its work?"""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.dependencies import ServicesDep
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
