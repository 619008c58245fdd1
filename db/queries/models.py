"""The registry of models: what workers have loaded, under which names, and whether somebody serves it now."""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from db.conflicts import insert_or_ignore
from db.models import Fit, Item, Job, Preference
from db.queries.workers import ALIVE_SECONDS, seen_workers
from db.registry_models import Model, Worker
from db.session import now
from domain.model_descriptions import ModelDescription, model_reference
from domain.preferences import Method
from domain.states import OPEN_ITEM_STATES, FitState, ModelState, WorkerState

FORGET_DAYS = 30
"""Nobody has served a model for so long, and no open job waits for it: then it is no longer listed."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model under one of its names."""

    name: str
    aliases: tuple[str, ...]
    description: ModelDescription
    state: ModelState
    registered_at: dt.datetime
    seen_at: dt.datetime

    @property
    def digest(self) -> str:
        """The digest that identifies the model, whatever it is called."""
        return self.description.digest

    @property
    def reference(self) -> str:
        """Its name, told apart from other models of that name."""
        return model_reference(self.name, self.digest)

    @property
    def is_ready(self) -> bool:
        """Whether a worker serves it under this name now."""
        return self.state is ModelState.READY


def register_model(
    session: Session, *, worker_id: uuid.UUID, name: str, aliases: tuple[str, ...], description: ModelDescription
) -> None:
    """Note what a worker has loaded, and take up the work that an older version left under the name alone."""
    moment = now(session)
    _forget(session, moment)
    session.execute(update(Worker).where(Worker.id == worker_id).values(model_digest=description.digest))
    changing = {
        "aliases": list(aliases),
        "methods": [method.value for method in description.methods],
        "default_method": description.default_method.value,
        "max_length": _shortest(session, worker_id, description),
        "vocab_size": description.vocab_size,
        "num_template_tokens": description.num_template_tokens,
        "longest_token_bytes": description.longest_token_bytes,
        "strength": description.strength,
        "max_kl": description.max_kl,
        "format": description.format,
        "card": description.card,
        "num_turn_tokens": description.num_turn_tokens,
        "seen_at": moment,
    }
    identity = {"name": name, "digest": description.digest}
    session.execute(insert_or_ignore(session, Model).values(**identity, **changing, registered_at=moment))
    session.execute(update(Model).filter_by(**identity).values(**changing))
    adopt(session, name=name, description=description)


def adopt(session: Session, *, name: str, description: ModelDescription) -> None:
    """Give this model the unfinished work of a version that knew names only: nothing says that it meant another.

    But for jobs whose items ask for a method that it does not know: they wait for a model that does.
    """
    beyond = (
        select(Item.job_id)
        .join(Job, Job.id == Item.job_id)
        .join(Preference, (Preference.tenant_id == Job.tenant_id) & (Preference.hash == Item.preference_hash))
        .where(Item.model_digest.is_(None), Item.model == name, Item.state.in_(OPEN_ITEM_STATES))
        .where(Preference.body["method"].as_string().not_in(description.methods))
    )
    for table, unfinished in (  # items before jobs, as everybody locks them
        (Item, Item.state.in_(OPEN_ITEM_STATES) & Item.job_id.not_in(beyond)),
        (Job, Job.finished_at.is_(None) & Job.id.not_in(beyond)),
        (Fit, Fit.state.in_((FitState.QUEUED, FitState.RUNNING))),
    ):
        nameless = update(table).where(table.model_digest.is_(None), table.model == name, unfinished)
        session.execute(nameless.values(model_digest=description.digest).execution_options(synchronize_session=False))


def list_models(session: Session) -> list[RegisteredModel]:
    """Every registered model, by name; of one name, what is served first, then what was served last."""
    seen = seen_workers(session)
    ready = {(worker.model, worker.digest) for worker in seen if worker.is_ready}
    loading = {worker.model for worker in seen if worker.is_loading}
    newest = func.row_number().over(partition_by=Model.name, order_by=Model.seen_at.desc())
    found = []
    for row, rank in session.execute(select(Model, newest)):
        is_loading = row.name in loading and rank == 1
        state = ModelState.LOADING if is_loading else ModelState.GONE
        found.append(_registered(row, ModelState.READY if (row.name, row.digest) in ready else state))
    return sorted(found, key=lambda model: (model.name, not model.is_ready, -model.seen_at.timestamp()))


def _registered(row: Model, state: ModelState) -> RegisteredModel:
    description = ModelDescription(
        digest=row.digest,
        methods=tuple(map(Method, row.methods)),
        default_method=Method(row.default_method),
        max_length=row.max_length,
        vocab_size=row.vocab_size,
        num_template_tokens=row.num_template_tokens,
        longest_token_bytes=row.longest_token_bytes,
        strength=row.strength,
        max_kl=row.max_kl,
        format=row.format,
        card=row.card,
        num_turn_tokens=row.num_turn_tokens,
    )
    return RegisteredModel(row.name, tuple(row.aliases), description, state, row.registered_at, row.seen_at)


def _shortest(session: Session, worker_id: uuid.UUID, description: ModelDescription) -> int:
    """What every worker that serves the model takes, whatever it calls it: any of them may claim an item."""
    horizon = now(session) - dt.timedelta(seconds=ALIVE_SECONDS)
    theirs = (
        select(func.min(Model.max_length))
        .join(Worker, (Worker.model == Model.name) & (Worker.model_digest == Model.digest))
        .where(
            Model.digest == description.digest,
            Worker.id != worker_id,
            Worker.state.in_((WorkerState.READY, WorkerState.LOADING)),  # what it served before it had to load again
            Worker.seen_at >= horizon,
        )
    )
    return min(description.max_length, session.scalars(theirs).one() or description.max_length)


def _forget(session: Session, moment: dt.datetime) -> None:
    long_ago = moment - dt.timedelta(days=FORGET_DAYS)
    is_needed = exists().where(Job.model_digest == Model.digest, Job.finished_at.is_(None))
    session.execute(
        delete(Model).where(Model.seen_at < long_ago, ~is_needed).execution_options(synchronize_session=False)
    )
