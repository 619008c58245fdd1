"""Whether jobs that are submitted now are decoded now. The checks run one round at a time, whoever asks how often."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum

import structlog
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from db import schema
from db.queries.jobs import waiting_models
from db.queries.models import RegisteredModel, list_models
from db.queries.workers import worker_status
from db.session import Database, first_line
from db.states import ModelState, WorkerState
from db.write_probe import WritesFailError, check_writes
from worker.queue import QueueUnreachableError, check_queue

FRESH_SECONDS = 2.0
"""An answer is given again for that long, so that health checks cost the same however often they come."""
PATIENCE_SECONDS = 5.0
"""What has not answered by then does not answer."""

NO_ANSWER = {"database": "The database does not answer.", "redis": "Redis does not answer."}

log = structlog.get_logger(__name__)


class CheckState(StrEnum):
    """How one check came out."""

    OK = "ok"
    FAILED = "failed"
    WAITING = "waiting"


class Check(BaseModel):
    """One thing that has to work."""

    state: CheckState
    message: str


class ServedModel(BaseModel):
    """A model, and whether a worker serves it."""

    id: str
    digest: str
    state: ModelState


class Readiness(BaseModel):
    """Whether jobs that are submitted now are decoded now."""

    ready: bool
    reason: str | None = Field(description="The first thing that is in the way.")
    checks: dict[str, Check]
    models: list[ServedModel] = Field(default=[], description="Those that are served, or that jobs wait for.")


class Round:
    """One round of all checks, each known as soon as it is done. What hangs keeps the rest from being known."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.checks: dict[str, Check] = {}
        self.models: list[RegisteredModel] = []
        self._settings = settings
        self._database = database

    def run(self) -> None:
        """Check one thing after the other; raises nothing."""
        self.checks["database"] = check_database(self._database)
        self.checks["redis"] = check_redis(self._settings.redis_url)
        if self.checks["database"].state is not CheckState.OK:
            return
        try:
            self.models = wanted_models(self._database)
            self.checks["worker"] = check_worker(self._database, self.models)
        except SQLAlchemyError as error:
            self.checks["database"] = _failed("The database does not answer.", first_line(error))

    def readiness(self, *, has_ended: bool = True) -> Readiness:
        """What is known; in a round that has not ended, what is being checked does not answer."""
        checks = dict(self.checks)
        if not has_ended:
            name = "redis" if "database" in checks and "redis" not in checks else "database"
            checks[name] = Check(state=CheckState.FAILED, message=NO_ANSWER[name])
        reason = next((check.message for check in checks.values() if check.state is not CheckState.OK), None)
        if reason is None and "worker" not in checks:
            reason = "The checks could not be made."
        shown = [ServedModel(id=model.name, digest=model.digest, state=model.state) for model in self.models]
        return Readiness(ready=reason is None, reason=reason, checks=checks, models=shown)


class ReadinessChecks:
    """Runs a round in a thread of its own when the last is no longer fresh; a round that hangs holds that one thread.

    Of those who ask meanwhile, nobody waits longer than `patience_seconds`.
    """

    def __init__(
        self,
        new_round: Callable[[], Round],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_round = new_round
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._round = new_round()
        self._ended: Future[float] | None = None

    async def current(self) -> Readiness:
        """How things stand, at most `FRESH_SECONDS` ago. To be asked on one event loop."""
        ended = self._ended
        if ended is None or (ended.done() and self._clock() - ended.result() >= FRESH_SECONDS):
            ended = self._begin()
        await asyncio.wait([asyncio.wrap_future(ended)], timeout=self._patience_seconds)
        return self._round.readiness(has_ended=ended.done())

    def _begin(self) -> Future[float]:
        self._round, self._ended = self._new_round(), Future()
        threading.Thread(target=self._run, args=(self._round, self._ended), name="readiness", daemon=True).start()
        return self._ended

    def _run(self, checks: Round, ended: Future[float]) -> None:
        try:
            checks.run()
        finally:
            ended.set_result(self._clock())


def check_database(database: Database) -> Check:
    """Whether the database answers, has every migration that this code needs, and takes writes."""
    try:
        with database.engine.connect() as connection:
            if not schema.is_current(connection):
                return _failed("The schema is not current: run `python -m db upgrade`.")
        check_writes(database)
    except SQLAlchemyError as error:
        return _failed(NO_ANSWER["database"], first_line(error))
    except WritesFailError as error:
        return _failed(f"The database cannot be written to: {error}.", str(error))
    return Check(state=CheckState.OK, message="The database answers and its schema is current.")


def check_redis(url: str) -> Check:
    """Whether Redis answers."""
    try:
        check_queue(url)
    except QueueUnreachableError as error:
        return _failed(NO_ANSWER["redis"], str(error))
    return Check(state=CheckState.OK, message="Redis answers.")


def wanted_models(database: Database) -> list[RegisteredModel]:
    """The models that are served now or soon, and those that open jobs wait for."""
    with database.reading() as session:
        known, waiting = list_models(session), waiting_models(session)
    served = {model.digest for model in known if model.is_ready}
    return [
        model for model in known if model.state is not ModelState.GONE or model.digest in waiting.difference(served)
    ]


def check_worker(database: Database, models: list[RegisteredModel]) -> Check:
    """Whether a worker can decode now; if not, what the workers say. Names what jobs wait for in vain."""
    with database.reading() as session:
        status = worker_status(session)
    if status.state is WorkerState.READY:
        message = "A worker is ready."
        missing = ", ".join(f"`{model.reference}`" for model in models if model.state is ModelState.GONE)
        return Check(state=CheckState.OK, message=f"{message} Jobs wait for {missing}." if missing else message)
    state = CheckState.FAILED if status.state is WorkerState.FAILED else CheckState.WAITING
    return Check(state=state, message=status.message or "No worker is ready.")


def _failed(message: str, cause: str | None = None) -> Check:
    log.warning("not_ready", reason=message, cause=cause)
    return Check(state=CheckState.FAILED, message=message)
