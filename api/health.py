"""For load balancers and people: is the process alive, and can it do its work?"""

from enum import StrEnum
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import ServicesDep
from db import schema
from db.queries.jobs import waiting_models
from db.queries.models import RegisteredModel, list_models
from db.queries.workers import worker_status
from db.session import Database, DatabaseUnreachableError
from db.states import ModelState, WorkerState
from worker.queue import QueueUnreachableError, check_queue

router = APIRouter(tags=["health"])


class CheckState(StrEnum):
    """How one check came out."""

    OK = "ok"
    FAILED = "failed"
    WAITING = "waiting"


class Check(BaseModel):
    """One thing that has to work."""

    state: CheckState
    message: str


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class ServedModel(BaseModel):
    """A model, and whether a worker serves it."""

    id: str
    digest: str
    state: ModelState


class Readiness(BaseModel):
    """Whether jobs that are submitted now are decoded now."""

    ready: bool
    reason: str | None = Field(description="The first thing that is in the way.")
    checks: dict[str, Check]
    models: list[ServedModel] = Field(default=[], description="Those that are served, or that jobs wait for.")


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Always 200. Asks nothing else."""
    return Alive()


@router.get("/readyz", summary="Is everything ready?", responses={503: {"model": Readiness}})
def readyz(services: ServicesDep, response: Response) -> Readiness:
    """200 when the database, Redis and a worker are ready; 503 with the reason otherwise."""
    checks = {
        "database": check_database(services.database),
        "redis": check_redis(services.settings.redis_url),
    }
    models: list[RegisteredModel] = []
    if checks["database"].state is CheckState.OK:
        models = wanted_models(services.database)
        checks["worker"] = check_worker(services.database, models)
    reason = next((check.message for check in checks.values() if check.state is not CheckState.OK), None)
    response.status_code = 200 if reason is None else 503
    shown = [ServedModel(id=model.name, digest=model.digest, state=model.state) for model in models]
    return Readiness(ready=reason is None, reason=reason, checks=checks, models=shown)


def check_database(database: Database) -> Check:
    """Whether the database answers, and every migration has been applied."""
    try:
        database.check()
        with database.engine.connect() as connection:
            if schema.is_current(connection):
                return Check(state=CheckState.OK, message="The database answers and its schema is current.")
    except (DatabaseUnreachableError, SQLAlchemyError):
        return Check(state=CheckState.FAILED, message="The database does not answer.")
    return Check(state=CheckState.FAILED, message="The schema is not current: run `python -m db upgrade`.")


def check_redis(url: str) -> Check:
    """Whether Redis answers."""
    try:
        check_queue(url)
    except QueueUnreachableError:
        return Check(state=CheckState.FAILED, message="Redis does not answer.")
    return Check(state=CheckState.OK, message="Redis answers.")


def wanted_models(database: Database) -> list[RegisteredModel]:
    """The models that are served now or soon, and those that open jobs wait for."""
    with database.reading() as session:
        known, waiting = list_models(session), waiting_models(session)
    served = {model.digest for model in known if model.is_ready}
    return [
        model for model in known if model.state is not ModelState.GONE or model.digest in waiting.difference(served)
    ]


def check_worker(database: Database, models: list[RegisteredModel]) -> Check:
    """Whether a worker can decode now; if not, what the workers say. Names what jobs wait for in vain."""
    with database.reading() as session:
        status = worker_status(session)
    if status.state is WorkerState.READY:
        message = "A worker is ready."
        missing = ", ".join(f"`{model.reference}`" for model in models if model.state is ModelState.GONE)
        return Check(state=CheckState.OK, message=f"{message} Jobs wait for {missing}." if missing else message)
    state = CheckState.FAILED if status.state is WorkerState.FAILED else CheckState.WAITING
    return Check(state=state, message=status.message or "No worker is ready.")
