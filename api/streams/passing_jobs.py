"""Jobs that are gone when their answer has been given: stored as any job is, waited for, and removed."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.http.dependencies import Services
from api.submissions.accepting import make_known
from api.submissions.submission import StoredJob
from db.queries import cancelling, deleting
from db.session import Database

LOOK_SECONDS = 1.0
"""Between two looks whether the client is still there."""


@asynccontextmanager
async def passing(services: Services, job: StoredJob) -> AsyncIterator[uuid.UUID]:
    """A job that has just been stored, known to a worker for the block, and removed after it whatever happens."""
    try:
        make_known(services, job)
        yield job.id
    finally:
        await asyncio.shield(run_in_threadpool(_remove, services.database, job.id))


async def ends(request: Request, services: Services, job_id: uuid.UUID, *, seconds: float) -> bool:
    """Wait so long for the end of a job; False where it has not ended by then, or the client has gone."""
    until = time.monotonic() + seconds
    end = asyncio.ensure_future(services.endings.wait_for(job_id))
    try:
        while not end.done() and (left := until - time.monotonic()) > 0:
            await asyncio.wait([end], timeout=min(LOOK_SECONDS, left))
            if not end.done() and await request.is_disconnected():
                return False
        if end.done():
            await end  # which raises what the database did
        return end.done()
    finally:
        end.cancel()


def _remove(database: Database, job_id: uuid.UUID) -> None:
    with database.transaction() as session:
        cancelling.cancel(session, job_id)
    with database.transaction() as session:
        cancelling.follow(session, job_id)
        deleting.delete_job(session, job_id)
    with database.transaction() as session:
        deleting.remove(session, job_id)
