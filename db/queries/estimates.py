"""What is known of how much a job will write and how soon: a tenant's own last texts, the workers' pace, the queue.

Each look is bounded, whatever is stored.
"""

import uuid
from dataclasses import dataclass
from typing import cast

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from db.queries import fairness
from db.queries.jobs import JOBS_BEFORE_SAMPLE
from db.queries.workers import ALIVE_SECONDS
from db.registry_models import Model, Worker
from db.session import clock
from domain.json_values import JsonObject
from domain.priorities import Priority
from domain.states import ItemState, WorkerState

JOBS_LOOKED_AT = 50
JOBS_SAMPLED = 5
ITEMS_PER_JOB = 100


@dataclass(frozen=True, slots=True)
class PastTexts:
    """What a tenant's last texts from a model took; of the first items of its last jobs."""

    num_answers: int = 0
    num_prompt_bytes: int = 0
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model writes: completion tokens per second of all its ready workers, as far as it was measured."""

    num_ready: int
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """What goes before a job that would be submitted now."""

    num_items: int
    has_others: bool
    """Other tenants have work for the same workers."""


def past_texts(session: Session, tenant_id: uuid.UUID, model_digest: str) -> PastTexts:
    """Token counts of the tenant's newest jobs for this model that have texts."""
    newest = select(Job.id, Job.model_digest, Job.num_succeeded).where(
        Job.tenant_id == tenant_id, Job.deleted_at.is_(None)
    )
    looked_at = session.execute(newest.order_by(Job.id.desc()).limit(JOBS_LOOKED_AT))
    sampled = [row.id for row in looked_at if row.model_digest == model_digest and row.num_succeeded]
    num_answers = num_bytes = num_prompt = num_completion = 0
    for job_id in sampled[:JOBS_SAMPLED]:
        rows = session.execute(
            select(Item.messages, Item.sampling, Result.num_prompt_tokens, Result.num_completion_tokens)
            .join(Result, Result.item_id == Item.id)
            .where(
                Item.job_id == job_id,
                Item.position.between(0, ITEMS_PER_JOB - 1),
                Item.state == ItemState.SUCCEEDED,
                Result.num_prompt_tokens.is_not(None),
                Result.num_completion_tokens.is_not(None),
            )
        )
        for messages, sampling, prompt_tokens, completion_tokens in rows:
            num_answers += answers_per_item(sampling)
            num_bytes += num_bytes_of(messages)
            num_prompt += prompt_tokens or 0
            num_completion += completion_tokens or 0
    return PastTexts(num_answers, num_bytes, num_prompt, num_completion)


def answers_per_item(sampling: JsonObject) -> int:
    """Number of answers that an item's stored sampling settings ask for."""
    return cast("int", sampling.get("n", 1))


def num_bytes_of(messages: list[JsonObject]) -> int:
    """Length of a conversation's texts, in bytes of UTF-8."""
    return sum(len(str(turn["content"]).encode()) for turn in messages)


def speed(session: Session, *, model: str, model_digest: str) -> Speed:
    """Tokens per second of the workers that serve the model now; one not measured yet counts like the last that was."""
    measured = select(Worker.tokens_per_second).where(
        Worker.model_digest == model_digest,
        Worker.state == WorkerState.READY,
        Worker.seen_at >= clock(-ALIVE_SECONDS),
    )
    rates = list(session.scalars(measured))
    last = session.scalar(select(Model.tokens_per_second).where(Model.name == model, Model.digest == model_digest))
    known = [last if rate is None else rate for rate in rates]
    found = [rate for rate in known if rate is not None]
    return Speed(len(rates), sum(found) if found and len(found) == len(known) else None)


def ahead_of_new(session: Session, tenant_id: uuid.UUID, model_digest: str, priority: Priority) -> Ahead:
    """What is queued before a new job of this priority, from the first JOBS_BEFORE_SAMPLE open jobs for the model."""
    is_open = (Job.model_digest == model_digest, Job.finished_at.is_(None))
    waits = case((and_(*fairness.may_be_claimed()), Job.num_queued), else_=0)
    own = select((waits + Job.num_running).label("num_items")).where(
        Job.tenant_id == tenant_id, *is_open, fairness.rank() <= priority.rank
    )
    looked_at = own.order_by(Job.id).limit(JOBS_BEFORE_SAMPLE).subquery()
    num_items = session.scalars(select(func.coalesce(func.sum(looked_at.c.num_items), 0))).one()
    others = select(Job.id).where(Job.tenant_id != tenant_id, Job.model_digest == model_digest)
    has_others = session.scalars(others.where(*fairness.may_be_claimed()).limit(1)).one_or_none() is not None
    return Ahead(int(num_items), has_others)
