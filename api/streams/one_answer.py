"""One answer for a client that waits for it: through the same queue as everything else, ahead of the tenant's jobs.

It is a job of one item, and gone when the answer has been given. Knows no vendor's form of question or answer.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.http.dependencies import Services
from api.http.errors import InvalidRequestError, OverloadedError
from api.jobs.schemas import Options, Overrides
from api.settings import Settings
from api.streams.growing_texts import GrowingTexts, NewText
from api.streams.hearing import Hearing
from api.streams.passing_jobs import LOOK_SECONDS, passing
from api.submissions.item_source import ItemSource, ReadOptions
from api.submissions.model_choice import choose_model
from api.submissions.submission import StoredJob, accept
from db.queries.results import ResultRow, read_results
from db.session import Database
from domain.priorities import Priority
from domain.sampling import MAX_SEED
from domain.text_pieces import Piece

PATIENCE_SECONDS = 300.0
"""So long an answer is waited for; clients wait ten minutes."""
RETRY_SECONDS = 5
BEGIN_SECONDS = 5.0
"""So long a stream waits for its first text before its headers are sent: until then a failure is a status."""
HEARTBEAT_SECONDS = 10.0
"""Between two signs of life while nothing is written."""

Ended: TypeAlias = "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is answered at once: the model that is asked, its defaults, and its one item."""

    model: str
    defaults: Callable[[int], Overrides]
    """What is unsaid, for a model with so many tokens in prompt and answer together."""
    source: Callable[[ReadOptions], ItemSource]
    """The job's one item, under these options."""


class OneAnswer:
    """An answer that is being written."""

    def __init__(
        self,
        request: Request,
        services: Services,
        job_id: uuid.UUID,
        end: Ended,
        hearing: Hearing | None,
    ) -> None:
        self.job_id = job_id
        self._request = request
        self._database = services.database
        self._end = end
        self._hearing = hearing

    async def row(self) -> ResultRow | None:
        """What became of it, once it has ended; None where it was given up, or the client has gone.

        Raises OverloadedError where it takes too long.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while not self._end.done():
            await asyncio.wait([self._end], timeout=min(LOOK_SECONDS, PATIENCE_SECONDS))
            if not self._end.done():
                if await self._request.is_disconnected():
                    return None
                if time.monotonic() > until:
                    raise _too_late()
        return await self._stored()

    async def begin(self) -> bool:
        """Wait a moment for the first text, or for the end: whether it has ended, or the client has gone."""
        until = time.monotonic() + BEGIN_SECONDS
        while not self._end.done() and (left := until - time.monotonic()) > 0:
            if await self._something(min(left, LOOK_SECONDS)):
                break
            if await self._request.is_disconnected():
                return True
        return self._end.done()

    async def texts(self) -> AsyncIterator[NewText | None]:
        """What is new of the answers while they are written, None as a sign of life, until they have ended.

        The texts of a choice, joined, are what `row` says of it. Raises TextChangedError where they cannot be, and
        OverloadedError where nothing comes for too long.
        """
        growing, last = GrowingTexts(), time.monotonic()
        while not self._end.done():
            if await self._something(HEARTBEAT_SECONDS):
                last = time.monotonic()
                for text in growing.hear(self._heard()):
                    yield text
            elif time.monotonic() - last > PATIENCE_SECONDS:
                raise _too_late()
            elif not self._end.done():
                yield None
        row = await self._stored()
        for text in growing.end([] if row is None else _texts(row)):
            yield text

    def _heard(self) -> list[Piece]:
        return [] if self._hearing is None else self._hearing.take()

    async def _something(self, seconds: float) -> bool:
        """Whether something is heard within so many seconds, and before the end."""
        if self._hearing is None:
            await asyncio.wait([self._end], timeout=seconds)
            return False
        heard = asyncio.ensure_future(self._hearing.something())
        try:
            await asyncio.wait([self._end, heard], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return heard.done()
        finally:
            heard.cancel()

    async def _stored(self) -> ResultRow | None:
        await self._end  # raises what the database did
        return await run_in_threadpool(_row, self._database, self.job_id)


@asynccontextmanager
async def one_answer(
    request: Request, services: Services, tenant_id: uuid.UUID, question: Question, *, is_streamed: bool = False
) -> AsyncIterator[OneAnswer]:
    """Have the question answered; with the block its job is gone, also where it has not ended.

    Raises what is wrong with the question as InvalidRequestError, and what a submission else may raise.
    """
    with ExitStack() as stack:
        hearing = None
        if is_streamed:
            await services.ear.ready()
            hearing = stack.enter_context(services.ear.hearing())
        listener = None if hearing is None else hearing.listener
        store = partial(_store, services.settings, services.database, tenant_id, question, listener)
        async with services.lanes.light.slot(tenant_id):
            job = await run_in_threadpool(store)
        end = asyncio.ensure_future(services.endings.wait_for(job.id))
        async with passing(services, job):
            try:
                yield OneAnswer(request, services, job.id, end, hearing)
            finally:
                end.add_done_callback(_noted)
                end.cancel()


def _noted(end: Ended) -> None:
    """Nobody asks any more how the wait came out, not even where it failed."""
    if not end.cancelled():
        end.exception()


def _too_late() -> OverloadedError:
    message = f"There was no answer within {PATIENCE_SECONDS:.0f} seconds: send long work as a batch."
    return OverloadedError(message, headers={"Retry-After": str(RETRY_SECONDS)})


def _store(
    settings: Settings, database: Database, tenant_id: uuid.UUID, question: Question, listener: str | None
) -> StoredJob:
    with database.reading() as session:
        max_length = choose_model(session, question.model).description.max_length
    seed = secrets.randbelow(MAX_SEED)  # two who ask the same get two answers, unless they say a seed
    defaults = question.defaults(max_length).model_copy(update={"seed": seed})
    options = Options.model_construct(model=question.model, priority=Priority.INTERACTIVE, defaults=defaults)
    source = question.source(ReadOptions(options, listener=listener))
    stored = accept(settings, database, tenant_id, source, None, is_announced=False).stored
    if stored is None:
        raise InvalidRequestError
    return stored


def _row(database: Database, job_id: uuid.UUID) -> ResultRow | None:
    with database.reading() as session:
        return next(iter(read_results(session, job_id=job_id, positions=range(1))), None)


def _texts(row: ResultRow) -> list[str]:
    """The texts of all choices of a result, in order; none where the item failed."""
    if row.choices is not None:
        return [str(choice["text"]) for choice in row.choices]
    return [] if row.text is None else [row.text]
