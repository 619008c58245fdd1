"""A worker's presence: its row in the database, which tells the API what to say of jobs that wait."""

import threading
import uuid
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.base import new_id
from db.faults import describe
from db.queries import workers
from db.queries.models import register_model
from db.session import Database
from domain.engine_load import EngineLoad
from domain.model_descriptions import ModelDescription
from domain.states import WorkerState
from telemetry.logs import identify
from worker.pipeline.waiting import until_done

PRESENCE_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Presence:
    """This incarnation's row, kept fresh by a thread of its own."""

    def __init__(self, database: Database, model: str, aliases: tuple[str, ...] = ()) -> None:
        self.worker_id: uuid.UUID = new_id()
        identify(worker=str(self.worker_id))
        self._database = database
        self._model = model
        self._aliases = aliases
        self._tokens_per_second: Callable[[], float | None] = lambda: None
        self._load: Callable[[], EngineLoad | None] = lambda: None
        self._said: tuple[WorkerState, str | None] = (WorkerState.LOADING, None)
        self._speaking = threading.Lock()

    def register(self, stopping: threading.Event) -> None:
        """Enter this incarnation; a database that cannot take it yet is waited for."""
        until_done(self._register, stopping)

    def _register(self) -> None:
        with self._database.transaction() as session:
            workers.register(session, worker_id=self.worker_id, model=self._model)

    def say(self, state: WorkerState, message: str | None = None) -> None:
        """Change state and say so at once, if the database listens."""
        self._said = (state, message)
        self._report()

    def tell_speed(self, tokens_per_second: Callable[[], float | None]) -> None:
        """From now on, say also how fast it writes."""
        self._tokens_per_second = tokens_per_second

    def tell_load(self, load: Callable[[], EngineLoad]) -> None:
        """From now on, say also how full its engine is."""
        self._load = load

    def register_model(self, description: ModelDescription, stopping: threading.Event) -> None:
        """Enter what was loaded into the registry; a database that cannot take it yet is waited for."""
        until_done(partial(self._register_model, description), stopping)

    def _register_model(self, description: ModelDescription) -> None:
        with self._database.transaction() as session:
            register_model(
                session,
                worker_id=self.worker_id,
                name=self._model,
                aliases=self._aliases,
                description=description,
            )
        log.info("model_registered", model=self._model, digest=description.digest)

    def keep(self, stopping: threading.Event) -> None:
        """Say it again and again until `stopping` is set, whatever becomes of a word."""
        while not stopping.wait(PRESENCE_SECONDS):
            try:
                self._report()
            except Exception:
                log.exception("presence_not_said")

    def _report(self) -> None:
        try:
            with self._speaking, self._database.transaction() as session:  # the last word is what was said last
                state, message = self._said
                workers.report(
                    session,
                    worker_id=self.worker_id,
                    state=state,
                    message=message,
                    tokens_per_second=self._tokens_per_second(),
                    load=self._load(),
                )
        except SQLAlchemyError as error:
            log.warning("presence_not_said", **describe(error))
