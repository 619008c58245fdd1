"""Worker processes: what each last said of itself, and what that means for jobs that wait."""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.models import Worker
from db.session import now
from db.states import WorkerState

ALIVE_SECONDS = 30.0
FORGET_SECONDS = 24 * 3600.0
NO_WORKER = "No worker is running."
LOADING = "The worker is loading the model."


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The best of all workers: `message` says why nothing decodes, and is None when a worker is ready."""

    state: WorkerState
    message: str | None


def register(session: Session, *, worker_id: uuid.UUID, model: str) -> None:
    """Note a new incarnation, loading its model. Rows of long-gone incarnations are removed on the way."""
    moment = now(session)
    session.execute(delete(Worker).where(Worker.seen_at < moment - dt.timedelta(seconds=FORGET_SECONDS)))
    session.add(
        Worker(id=worker_id, model=model, state=WorkerState.LOADING, message=None, started_at=moment, seen_at=moment)
    )


def report(session: Session, *, worker_id: uuid.UUID, state: WorkerState, message: str | None = None) -> None:
    """Say that this incarnation is alive, and in what state."""
    session.execute(
        update(Worker).where(Worker.id == worker_id).values(state=state, message=message, seen_at=now(session))
    )


def worker_status(session: Session) -> WorkerStatus:
    """Whether anything can decode now. A failure is told until a later incarnation does better."""
    horizon = now(session) - dt.timedelta(seconds=ALIVE_SECONDS)
    rows = session.execute(select(Worker.state, Worker.message, Worker.seen_at).order_by(Worker.id.desc())).all()
    alive = {state for state, _, seen_at in rows if seen_at >= horizon}
    if WorkerState.READY in alive:
        return WorkerStatus(WorkerState.READY, None)
    if WorkerState.LOADING in alive:
        return WorkerStatus(WorkerState.LOADING, LOADING)
    if rows and rows[0].state is WorkerState.FAILED:
        return WorkerStatus(WorkerState.FAILED, rows[0].message)
    return WorkerStatus(WorkerState.STOPPED, NO_WORKER)
