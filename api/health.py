"""For load balancers and people: is the process alive, and can it do its work?"""

from enum import StrEnum
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import ServicesDep
from db import schema
from db.queries.workers import worker_status
from db.session import Database, DatabaseUnreachableError
from db.states import WorkerState
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


class Readiness(BaseModel):
    """Whether jobs that are submitted now are decoded now."""

    ready: bool
    reason: str | None = Field(description="The first thing that is in the way.")
    checks: dict[str, Check]


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
    if checks["database"].state is CheckState.OK:
        checks["worker"] = check_worker(services.database)
    reason = next((check.message for check in checks.values() if check.state is not CheckState.OK), None)
    response.status_code = 200 if reason is None else 503
    return Readiness(ready=reason is None, reason=reason, checks=checks)


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


def check_worker(database: Database) -> Check:
    """Whether a worker can decode now; if not, what the workers say."""
    with database.reading() as session:
        status = worker_status(session)
    if status.state is WorkerState.READY:
        return Check(state=CheckState.OK, message="A worker is ready.")
    state = CheckState.FAILED if status.state is WorkerState.FAILED else CheckState.WAITING
    return Check(state=state, message=status.message or "No worker is ready.")
