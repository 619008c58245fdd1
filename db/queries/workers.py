"""Worker processes: what each last said of itself, and what that means for jobs that wait."""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from sqlalchemy import Double, Select, and_, cast, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from db.registry_models import Model, Worker
from db.session import clock, now
from domain.engine_load import EngineLoad
from domain.model_descriptions import model_reference
from domain.states import WorkerState

ALIVE_SECONDS = 30.0
FORGET_SECONDS = 24 * 3600.0
SEEN_SECONDS = 60.0
"""How exactly the registry knows when a model was last served: a worker says more often that it lives."""
NO_WORKER = "No worker is running."
LOADING = "The worker is loading the model."


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The best of all workers: `message` says why nothing decodes, and is None when a worker is ready."""

    state: WorkerState
    message: str | None


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """One incarnation, as it last said."""

    model: str
    digest: str | None
    state: WorkerState
    message: str | None
    is_alive: bool

    @property
    def is_ready(self) -> bool:
        """Whether the worker is alive and decodes now."""
        return self.is_alive and self.state is WorkerState.READY

    @property
    def is_loading(self) -> bool:
        """Whether the worker is alive and still loads its model."""
        return self.is_alive and self.state is WorkerState.LOADING


def register(session: Session, *, worker_id: uuid.UUID, model: str) -> None:
    """Note a new incarnation, loading its model. Rows of long-gone incarnations are removed on the way."""
    moment = now(session)
    session.execute(delete(Worker).where(Worker.seen_at < moment - dt.timedelta(seconds=FORGET_SECONDS)))
    session.add(
        Worker(
            id=worker_id,
            model=model,
            model_digest=None,
            state=WorkerState.LOADING,
            message=None,
            started_at=moment,
            seen_at=moment,
        )
    )


def report(
    session: Session,
    *,
    worker_id: uuid.UUID,
    state: WorkerState,
    message: str | None = None,
    tokens_per_second: float | None = None,
    load: EngineLoad | None = None,
) -> None:
    """Say that this incarnation is alive, in what state, how fast and how full; a model that it serves is seen too."""
    moment = now(session)
    told: dict[str, object] = {"state": state, "message": message, "seen_at": moment}
    told |= {"tokens_per_second": tokens_per_second, **(asdict(load) if load is not None else {})}
    said = update(Worker).where(Worker.id == worker_id).values(**told)
    served = session.execute(said.returning(Worker.model, Worker.model_digest)).one_or_none()
    if served is not None and served.model_digest is not None:
        session.execute(
            update(Model)
            .where(
                Model.name == served.model,
                Model.digest == served.model_digest,
                or_(
                    Model.seen_at < moment - dt.timedelta(seconds=SEEN_SECONDS),
                    and_(Model.tokens_per_second.is_(None), literal(tokens_per_second is not None)),
                ),
            )
            .values(
                seen_at=moment,
                tokens_per_second=func.coalesce(cast(tokens_per_second, Double), Model.tokens_per_second),
            )
        )


def seen_workers(session: Session) -> list[SeenWorker]:
    """Every incarnation that is remembered, the newest first."""
    return [SeenWorker(*row) for row in session.execute(_seen())]


@cache
def _seen() -> Select[*tuple[Any, ...]]:
    columns = (Worker.model, Worker.model_digest, Worker.state, Worker.message, Worker.seen_at >= clock(-ALIVE_SECONDS))
    return select(*columns).order_by(Worker.id.desc())


def worker_status(session: Session) -> WorkerStatus:
    """Whether anything can decode now. A failure is told until a later incarnation does better."""
    return _best(seen_workers(session))


def serving_status(seen: list[SeenWorker], *, model: str, digest: str | None) -> WorkerStatus:
    """Whether this very model is decoded with now; if not, why not, whatever else is served under its name."""
    if any(worker.is_ready and worker.digest == digest for worker in seen):
        return WorkerStatus(WorkerState.READY, None)
    namesakes = [worker for worker in seen if worker.model == model]
    if any(worker.is_loading for worker in namesakes) or not any(worker.is_ready for worker in seen):
        return _best(namesakes or seen)
    reference = model if digest is None else model_reference(model, digest)
    message = f"No worker serves {reference}."
    if any(worker.is_ready for worker in namesakes):
        message = f"No worker serves {reference}; a worker serves another model under that name."
    elif namesakes and namesakes[0].state is WorkerState.FAILED and namesakes[0].message:
        message = f"No worker serves {reference}: {namesakes[0].message}"
    return WorkerStatus(WorkerState.STOPPED, message)


def _best(seen: list[SeenWorker]) -> WorkerStatus:
    if any(worker.is_ready for worker in seen):
        return WorkerStatus(WorkerState.READY, None)
    if any(worker.is_loading for worker in seen):
        return WorkerStatus(WorkerState.LOADING, LOADING)
    if seen and seen[0].state is WorkerState.FAILED:
        return WorkerStatus(WorkerState.FAILED, seen[0].message)
    return WorkerStatus(WorkerState.STOPPED, NO_WORKER)
