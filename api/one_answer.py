"""One answer for a client that waits for it: through the same queue as everything else, ahead of the tenant's jobs.

It is a job of one item, and gone when the answer has been given. Knows no vendor's form of question or answer.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.accepting import make_known
from api.dependencies import Services
from api.errors import InvalidRequestError, OverloadedError
from api.item_source import ItemSource, ReadOptions
from api.job_schemas import Options, Overrides
from api.model_choice import choose_model
from api.settings import Settings
from api.submission import StoredJob, accept
from db.priorities import Priority
from db.queries import cancelling, deleting
from db.queries.results import ResultRow, read_results
from db.session import Database

PATIENCE_SECONDS = 300.0
"""So long an answer is waited for; clients wait ten minutes."""
RETRY_SECONDS = 5
LOOK_SECONDS = 1.0
"""Between two looks whether the client is still there."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of which model."""

    model: str
    defaults: Callable[[int], Overrides]
    """What is unsaid, for a model with so many tokens in prompt and answer together."""
    source: Callable[[ReadOptions], ItemSource]
    """The job's one item, under these options."""


class OneAnswer:
    """An answer that is being written."""

    def __init__(self, request: Request, services: Services, job_id: uuid.UUID) -> None:
        self.job_id = job_id
        self._request = request
        self._services = services

    async def row(self) -> ResultRow | None:
        """What became of it, once it has ended; None where it was given up, or the client has gone.

        Raises OverloadedError where it takes too long.
        """
        await self._end()
        return await run_in_threadpool(_row, self._services.database, self.job_id)

    async def _end(self) -> None:
        """Return when the job has ended or nobody waits for it: a client that has gone wants none."""
        end = asyncio.ensure_future(self._services.endings.wait_for(self.job_id))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not end.done():
                    await asyncio.wait([end], timeout=LOOK_SECONDS)
                    if not end.done() and await self._request.is_disconnected():
                        return
        except TimeoutError:
            message = f"There was no answer within {PATIENCE_SECONDS:.0f} seconds: send long work as a batch."
            raise OverloadedError(message, headers={"Retry-After": str(RETRY_SECONDS)}) from None
        finally:
            end.cancel()
        await end


@asynccontextmanager
async def one_answer(
    request: Request, services: Services, tenant_id: uuid.UUID, question: Question
) -> AsyncIterator[OneAnswer]:
    """Have the question answered; with the block its job is gone, also where it has not ended.

    Raises what is wrong with the question as InvalidRequestError, and what a submission else may raise.
    """
    async with services.lanes.light.slot(tenant_id):
        job = await run_in_threadpool(partial(_store, services.settings, services.database, tenant_id, question))
    try:
        await make_known(services, job)
        yield OneAnswer(request, services, job.id)
    finally:
        await asyncio.shield(run_in_threadpool(_remove, services.database, job.id))


def _store(settings: Settings, database: Database, tenant_id: uuid.UUID, question: Question) -> StoredJob:
    with database.reading() as session:
        max_length = choose_model(session, question.model).description.max_length
    options = Options.model_construct(
        model=question.model, priority=Priority.INTERACTIVE, defaults=question.defaults(max_length)
    )
    stored = accept(settings, database, tenant_id, question.source(ReadOptions(options)), None).stored
    if stored is None:
        raise InvalidRequestError
    return stored


def _row(database: Database, job_id: uuid.UUID) -> ResultRow | None:
    with database.reading() as session:
        return next(iter(read_results(session, job_id=job_id, positions=range(1))), None)


def _remove(database: Database, job_id: uuid.UUID) -> None:
    """The answer has been given, or nobody wants it any more."""
    with database.transaction() as session:
        cancelling.cancel(session, job_id)
    with database.transaction() as session:
        cancelling.follow(session, job_id)
        deleting.delete_job(session, job_id)
    with database.transaction() as session:
        deleting.remove(session, job_id)
