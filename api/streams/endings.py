"""Waiting for the end of jobs: one look at the database for all who wait, and none while nobody does."""

import asyncio
import uuid

from starlette.concurrency import run_in_threadpool

from db.queries import jobs
from db.session import Database

LOOK_SECONDS = 0.05

Ends = dict[uuid.UUID, asyncio.Future[None]]


class Endings:
    """Tells when a job has ended. Safe to use from several event loops."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[asyncio.AbstractEventLoop, Ends] = {}
        self._looks: set[asyncio.Task[None]] = set()

    async def wait_for(self, job_id: uuid.UUID) -> None:
        """Return once the job has ended or is gone; one waits for each job. Raises what the database does."""
        loop = asyncio.get_running_loop()
        if loop not in self._waiting:
            self._waiting[loop] = {}
            look = loop.create_task(self._look(loop))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
        waiting, end = self._waiting[loop], loop.create_future()
        waiting[job_id] = end
        try:
            await end
        finally:
            waiting.pop(job_id, None)

    async def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask again and again which of the awaited jobs have ended, until nobody waits on this event loop."""
        waiting = self._waiting[loop]
        while waiting:
            asked = set(waiting)  # whoever comes meanwhile is asked for the next time
            try:
                still_open = await run_in_threadpool(self._open_among, asked)
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                for end in waiting.values():
                    _settle(end, error)
                waiting.clear()
            else:
                for job_id in waiting.keys() & (asked - still_open):
                    _settle(waiting.pop(job_id))
            await asyncio.sleep(LOOK_SECONDS)
        del self._waiting[loop]

    def _open_among(self, job_ids: set[uuid.UUID]) -> set[uuid.UUID]:
        with self._database.reading() as session:
            return jobs.open_among(session, job_ids)


def _settle(end: asyncio.Future[None], error: Exception | None = None) -> None:
    if end.done():  # whoever waited has gone
        return
    if error is None:
        end.set_result(None)
    else:
        end.set_exception(error)
