"""A worker's presence: its row in the database, which tells the API what to say of jobs that wait."""

import contextlib
import threading
import uuid

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from db.base import new_id
from db.model_descriptions import ModelDescription
from db.queries import workers
from db.queries.models import register_model
from db.session import Database
from db.states import WorkerState

PRESENCE_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Presence:
    """This incarnation's row, kept fresh by a thread of its own."""

    def __init__(self, database: Database, model: str, aliases: tuple[str, ...] = ()) -> None:
        self.worker_id: uuid.UUID = new_id()
        self._database = database
        self._model = model
        self._aliases = aliases
        self._said: tuple[WorkerState, str | None] = (WorkerState.LOADING, None)
        with database.transaction() as session:
            workers.register(session, worker_id=self.worker_id, model=model)

    def say(self, state: WorkerState, message: str | None = None) -> None:
        """Change state and say so at once, if the database listens."""
        self._said = (state, message)
        self._report()

    def register_model(self, description: ModelDescription, stopping: threading.Event) -> None:
        """Enter what was loaded into the registry; a database that does not answer is waited for."""
        while not stopping.is_set():
            try:
                with self._database.transaction() as session:
                    register_model(
                        session,
                        worker_id=self.worker_id,
                        name=self._model,
                        aliases=self._aliases,
                        description=description,
                    )
            except OperationalError as error:
                log.warning("database_unavailable", reason=type(error.orig).__name__)
                stopping.wait(PRESENCE_SECONDS)
            else:
                log.info("model_registered", model=self._model, digest=description.digest)
                return

    def keep(self, stopping: threading.Event) -> None:
        """Say it again and again until `stopping` is set."""
        while not stopping.wait(PRESENCE_SECONDS):
            self._report()

    def _report(self) -> None:
        state, message = self._said
        with contextlib.suppress(SQLAlchemyError), self._database.transaction() as session:
            workers.report(session, worker_id=self.worker_id, state=state, message=message)
