"""What a client does to a job that is there: pause, resume, prioritise, retry, delete. Thin: each is one query."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends

from api.http.bodies import JSON, json_body, request_body
from api.http.dependencies import ServicesDep
from api.http.errors import (
    BodyTooLargeError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    MalformedBodyError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    responses,
)
from api.jobs.deadlines import reading_job, record_in_time
from api.jobs.routes import JobId, Writer
from api.jobs.schedule_schemas import PriorityBody
from api.jobs.schemas import JobOut
from api.jobs.views import record_of, view_of
from db.queries import cancelling, deleting, pausing, prioritising, retrying
from db.session import Database
from domain.states import JobState

BATCHES_PER_REQUEST = 20

router = APIRouter(
    tags=["jobs"],
    responses=responses(
        UnauthorizedError, ForbiddenError, NotFoundError, ConflictError, InvalidRequestError, UnavailableError
    ),
)


@router.post("/v1/jobs/{job_id}/pause", summary="Pause a job")
def pause_job(job_id: JobId, caller: Writer, services: ServicesDep) -> JobOut:
    """Begin nothing more of a job until it is resumed; what is being decoded is finished. Its deadline goes on."""
    with services.database.transaction() as session:
        record_in_time(session, caller.tenant_id, job_id)
        if not pausing.pause(session, job_id):
            raise ConflictError("The job has ended: there is nothing left to pause.")
        return view_of(session, caller.tenant_id, job_id)


@router.post("/v1/jobs/{job_id}/resume", summary="Resume a job")
def resume_job(job_id: JobId, caller: Writer, services: ServicesDep) -> JobOut:
    """Let a paused job go on."""
    with services.database.transaction() as session:
        record_in_time(session, caller.tenant_id, job_id)
        if not pausing.resume(session, job_id):
            raise ConflictError("The job has ended: there is nothing left to resume.")
        job = view_of(session, caller.tenant_id, job_id)
    if job.model_digest is not None:
        services.publisher.wake(job_id, job.model_digest)
    return job


@router.post(
    "/v1/jobs/{job_id}/priority",
    summary="Change a job's priority",
    responses=responses(MalformedBodyError, BodyTooLargeError, UnsupportedMediaTypeError),
    openapi_extra=request_body({"$ref": "#/components/schemas/PriorityBody"}, JSON, example={"priority": "bulk"}),
)
def prioritise_job(
    job_id: JobId,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[PriorityBody, Depends(json_body(PriorityBody))],
) -> JobOut:
    """Have a job's next items written before or after those of your other jobs."""
    with services.database.transaction() as session:
        record_in_time(session, caller.tenant_id, job_id)
        if not prioritising.prioritise(session, job_id, body.priority):
            raise ConflictError("The job has ended: there is nothing left to write.")
        return view_of(session, caller.tenant_id, job_id)


@router.post("/v1/jobs/{job_id}/retry", summary="Retry what failed of a job")
def retry_job(job_id: JobId, caller: Writer, services: ServicesDep) -> JobOut:
    """Queue the failed items of a job again, what its deadline overtook included. What is finished is never done again.

    A completion window begins anew. Where nothing has failed, nothing changes.
    """
    with reading_job(services.database, caller.tenant_id, job_id) as (_, record):
        has_expired = record.state is JobState.EXPIRED
    if has_expired:
        _let_its_items_follow(services.database, job_id)
    after: int | None = -1
    while after is not None:
        with services.database.transaction() as session:
            retried = retrying.retry(session, job_id, after=after)
            if retried is None:
                record_of(session, caller.tenant_id, job_id)  # `NotFoundError` where it was deleted just now
                raise ConflictError("The job was cancelled: submit what you still want as a new job.")
            after = retried.next_after
            job = view_of(session, caller.tenant_id, job_id)
    if job.counts.queued and job.model_digest is not None:
        services.publisher.wake(job_id, job.model_digest)
    return job


@router.delete("/v1/jobs/{job_id}", summary="Delete a job", status_code=204)
def delete_job(job_id: JobId, caller: Writer, services: ServicesDep) -> None:
    """Remove an ended job with its items and texts. It is gone at once; a large one's rows are removed bit by bit."""
    with services.database.transaction() as session:
        record_in_time(session, caller.tenant_id, job_id)
        if not deleting.delete_job(session, job_id):
            raise ConflictError("The job has not ended: cancel it first.")
    with services.database.transaction() as session:  # a small job goes here, the rest in the workers' sweeps
        deleting.remove(session, job_id)


def _let_its_items_follow(database: Database, job_id: uuid.UUID) -> None:
    """A bounded number of them; what is left of a very large job, the workers' sweeps or the next requests do."""
    for _ in range(BATCHES_PER_REQUEST):
        with database.transaction() as session:
            if not cancelling.follow(session, job_id):
                return
    raise UnavailableError("The job's items are just being ended; try again in a moment.", headers={"Retry-After": "1"})
