"""A worker's presence: its row in the database, which tells the API what to say of jobs that wait."""

import contextlib
import threading
import uuid

from sqlalchemy.exc import SQLAlchemyError

from db.base import new_id
from db.queries import workers
from db.session import Database
from db.states import WorkerState

PRESENCE_SECONDS = 3.0


class Presence:
    """This incarnation's row, kept fresh by a thread of its own."""

    def __init__(self, database: Database, model: str) -> None:
        self.worker_id: uuid.UUID = new_id()
        self._database = database
        self._said: tuple[WorkerState, str | None] = (WorkerState.LOADING, None)
        with database.transaction() as session:
            workers.register(session, worker_id=self.worker_id, model=model)

    def say(self, state: WorkerState, message: str | None = None) -> None:
        """Change state and say so at once, if the database listens."""
        self._said = (state, message)
        self._report()

    def keep(self, stopping: threading.Event) -> None:
        """Say it again and again until `stopping` is set."""
        while not stopping.wait(PRESENCE_SECONDS):
            self._report()

    def _report(self) -> None:
        state, message = self._said
        with contextlib.suppress(SQLAlchemyError), self._database.transaction() as session:
            workers.report(session, worker_id=self.worker_id, state=state, message=message)
