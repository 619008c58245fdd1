"""What has to work so that jobs that are submitted now are decoded now: one list, for `/readyz` and `padserve doctor`.

Both say the same sentence, the first that is in the way. How Redis is asked is for who asks to say.
"""

from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel, Field, PrivateAttr
from sqlalchemy.exc import SQLAlchemyError

from db import schema
from db.queries.jobs import waiting_models
from db.queries.models import RegisteredModel, list_models
from db.queries.workers import worker_status
from db.session import Database, first_line
from db.write_probe import WritesFailError, check_writes
from domain.states import ModelState, WorkerState

NO_ANSWER = {"database": "The database does not answer.", "redis": "Redis does not answer."}


class CheckState(StrEnum):
    """How one check came out."""

    OK = "ok"
    FAILED = "failed"
    WAITING = "waiting"


class Check(BaseModel):
    """One thing that has to work."""

    state: CheckState
    message: str
    _cause: str | None = PrivateAttr(None)

    @classmethod
    def failed(cls, message: str, cause: str | None = None) -> "Check":
        """A failed check, with a message for everybody and a `cause` for logs alone."""
        check = cls(state=CheckState.FAILED, message=message)
        check._cause = cause
        return check

    @property
    def cause(self) -> str | None:
        """What a log may say beside the message, and nobody who asks from outside is told."""
        return self._cause


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

    def __init__(self, database: Database, why_redis_fails: Callable[[], str | None]) -> None:
        """`why_redis_fails` asks Redis, and returns None when it answers; what else it says goes into the log alone."""
        self.checks: dict[str, Check] = {}
        self.models: list[RegisteredModel] = []
        self._database = database
        self._why_redis_fails = why_redis_fails

    def run(self) -> None:
        """Check one thing after the other; raises nothing."""
        self.checks["database"] = check_database(self._database)
        self.checks["redis"] = check_redis(self._why_redis_fails)
        if self.checks["database"].state is not CheckState.OK:
            return
        try:
            self.models = wanted_models(self._database)
            self.checks["worker"] = check_worker(self._database, self.models)
        except SQLAlchemyError as error:
            self.checks["database"] = Check.failed("The database does not answer.", first_line(error))

    def readiness(self, *, has_ended: bool = True) -> Readiness:
        """What the checks have found so far; in a round that has not ended, the one under way does not answer."""
        checks = dict(self.checks)
        if not has_ended:
            name = "redis" if "database" in checks and "redis" not in checks else "database"
            checks[name] = Check(state=CheckState.FAILED, message=NO_ANSWER[name])
        reason = next((check.message for check in checks.values() if check.state is not CheckState.OK), None)
        if reason is None and "worker" not in checks:
            reason = "The checks could not be made."
        shown = [ServedModel(id=model.name, digest=model.digest, state=model.state) for model in self.models]
        return Readiness(ready=reason is None, reason=reason, checks=checks, models=shown)


def check_database(database: Database) -> Check:
    """Whether the database answers, has every migration that this code needs, and takes writes."""
    try:
        with database.engine.connect() as connection:
            if not schema.is_current(connection):
                return Check.failed("The schema is not current: run `python -m db upgrade`.")
        check_writes(database)
    except SQLAlchemyError as error:
        return Check.failed(NO_ANSWER["database"], first_line(error))
    except WritesFailError as error:
        return Check.failed(f"The database cannot be written to: {error}.", str(error))
    return Check(state=CheckState.OK, message="The database answers and its schema is current.")


def check_redis(why_it_fails: Callable[[], str | None]) -> Check:
    """Whether Redis answers."""
    why = why_it_fails()
    if why is not None:
        return Check.failed(NO_ANSWER["redis"], why)
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
