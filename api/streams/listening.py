"""Following jobs without asking: one look at the database for all who listen in a process, and none while nobody does.

A listener is given snapshots, never a history: whoever reads slowly misses those between, and the last is always told.
"""

import asyncio
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import structlog
from starlette.concurrency import run_in_threadpool

from api.http.errors import NoSuchJobError, TooManyRequestsError, UnauthorizedError
from api.jobs import deadlines
from api.jobs.status import JobOfTenant, Status, status_of
from api.jobs.views import job_views
from db.batches import batches
from db.faults import describe, is_passing
from db.queries import jobs, keys
from db.session import Database
from worker.queue import Publisher

LOOK_SECONDS = 0.5
"""Between two looks: as often as a job's listeners are told at most."""
PATIENCE = 4
"""How much longer than that it is waited after a look that failed."""
MAX_LISTENERS_PER_TENANT = 1000
JOBS_PER_STATEMENT = 500

log = structlog.get_logger(__name__)


class EventName(StrEnum):
    """The kinds of events on a job's stream."""

    STATUS = "status"
    """The job has moved."""
    END = "end"
    """It has ended; nothing follows."""
    CLOSED = "closed"
    """Nothing more is said of it: it was deleted, or the key was revoked."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A snapshot of a job as one server-sent event; two with equal ids say the same."""

    name: EventName
    id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the database has found for all who listen."""

    events: dict[uuid.UUID, JobEvent]
    """The newest event of each job that exists, by its id."""
    keys: set[uuid.UUID]
    """Ids of the API keys that are still valid."""


class Listener:
    """Somebody who follows a job. Holds the newest snapshot, and no other."""

    def __init__(self, named: JobOfTenant, key_id: uuid.UUID) -> None:
        self.tenant_id, self.job_id = named
        self.key_id = key_id
        self._newest: JobEvent | None = None
        self._told: str | None = None
        self._woken = asyncio.Event()
        self.is_over = False
        """Whether the server stops, and nothing more will come."""

    def has_been_told(self, event_id: str) -> None:
        """Note the id of the event that the client has: `next` gives none with the same id."""
        self._told = event_id

    async def next(self, seconds: float) -> JobEvent | None:
        """The newest snapshot, once it is another than the last; None where there is none in time, or no more."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return None
        self._woken.clear()
        event, self._newest = self._newest, None
        if event is not None:
            self._told = event.id
        return event

    def offer(self, event: JobEvent) -> None:
        """Take the newest snapshot in the place of one that was not taken yet, and wake the listener if it is new."""
        if event.id == self._told:
            self._newest = None
            return
        self._newest = event
        self._woken.set()

    def stop(self) -> None:
        """Tell the listener that nothing more comes, and wake it."""
        self.is_over = True
        self._woken.set()


class Listeners:
    """All who follow jobs in this process. Safe to use from several event loops."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._listening: dict[asyncio.AbstractEventLoop, set[Listener]] = {}
        self._looks: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}
        self._is_stopping = False

    @contextmanager
    def listening(self, named: JobOfTenant, key_id: uuid.UUID) -> Iterator[Listener]:
        """A listener, as long as the block runs; raises `TooManyRequestsError` where the tenant has very many."""
        loop = asyncio.get_running_loop()
        listeners = self._listening.setdefault(loop, set())
        if sum(other.tenant_id == named[0] for other in listeners) >= MAX_LISTENERS_PER_TENANT:
            raise TooManyRequestsError(f"You follow {MAX_LISTENERS_PER_TENANT} jobs here; end one of these first.")
        listener = Listener(named, key_id)
        listeners.add(listener)
        if self._is_stopping:
            listener.stop()
        elif loop not in self._looks:
            self._looks[loop] = loop.create_task(self._look(loop))
        try:
            yield listener
        finally:
            listeners.discard(listener)

    @property
    def is_stopping(self) -> bool:
        """Whether the server stops: no stream is to go on."""
        return self._is_stopping

    def stop(self) -> None:
        """The server stops: let every listener go. Called on the loop that serves them."""
        self._is_stopping = True
        for listeners in self._listening.values():
            for listener in listeners:
                listener.stop()

    async def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until nobody listens on this loop, whatever becomes of the database meanwhile."""
        listeners = self._listening[loop]
        await asyncio.sleep(LOOK_SECONDS)  # each has just been told how things are
        while listeners and not self._is_stopping:
            present = list(listeners)
            job_ids, key_ids = {each.job_id for each in present}, {each.key_id for each in present}
            pause = LOOK_SECONDS
            try:
                seen = await run_in_threadpool(self._see, job_ids, key_ids)
            except Exception as error:
                if is_passing(error):
                    log.warning("listeners_wait", **describe(error))
                else:
                    log.exception("listeners_wait")
                pause *= PATIENCE
            else:
                for listener in present:
                    listener.offer(_told_to(listener, seen))
            await asyncio.sleep(pause)
        del self._looks[loop], self._listening[loop]

    def _see(self, job_ids: Collection[uuid.UUID], key_ids: Collection[uuid.UUID]) -> Seen:
        events = dict[uuid.UUID, JobEvent]()
        for some in batches(job_ids, JOBS_PER_STATEMENT):
            find = partial(jobs.find_jobs, job_ids=some)
            with deadlines.reading_jobs(self._database, find) as (session, records):
                views = job_views(session, records, redis_fails=self._publisher.is_failing)
            events |= {job.id: event_of(status_of(job)) for job in views}
        with self._database.reading() as session:
            return Seen(events, keys.valid_among(session, key_ids))


def event_of(status: Status) -> JobEvent:
    """A status as an event; its id is the status's entity tag."""
    return JobEvent(EventName.END if status.has_ended else EventName.STATUS, status.tag, status.body)


def _told_to(listener: Listener, seen: Seen) -> JobEvent:
    if listener.key_id not in seen.keys:
        return _REVOKED
    return seen.events.get(listener.job_id, _DELETED)


def _closed(error: type[NoSuchJobError | UnauthorizedError], message: str) -> JobEvent:
    data = f'{{"code":"{error.code}","message":"{message}"}}'
    return JobEvent(EventName.CLOSED, error.code, data.encode())


_REVOKED = _closed(UnauthorizedError, "The API key is no longer valid.")
_DELETED = _closed(NoSuchJobError, "The job was deleted.")
