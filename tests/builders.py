"""Rows for tests, with defaults that a test overrides where it matters."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.base import new_id
from db.models import Item, Job, Preference, Result, Tenant
from db.queries import cancelling, workers
from db.queries.items import ITEMS_PER_STRETCH
from db.queries.models import register_model
from db.queries.profiles import create_profile
from db.session import Database, now
from domain.model_descriptions import ModelDescription, methods_of
from domain.pairs import PreferredPair
from domain.preferences import EffectivePreference, Method, Principle, effective_preference
from domain.states import ItemState, JobState, WorkerState

MODEL = "tiny"
DIGEST = "d" * 64
SAMPLING = {"k": 10, "temperature": 0.0, "top_p": 1.0, "seed": 0, "max_tokens": 16, "stop": [], "rewards": False}


def preference(*principles: str, method: Method = Method.CONTRAST, strength: float = 1.0) -> EffectivePreference:
    return effective_preference(method, strength, [Principle(text) for text in principles])


def a_description(
    digest: str = DIGEST, *, has_policy: bool = True, max_length: int = 512, **changes: object
) -> ModelDescription:
    """Of a model with a token a byte, and a template of 10 tokens."""
    described = ModelDescription(
        digest=digest,
        methods=methods_of(has_policy=has_policy),
        default_method=Method.PAD if has_policy else Method.CONTRAST,
        max_length=max_length,
        vocab_size=260,
        num_template_tokens=10,
        longest_token_bytes=1,
    )
    return replace(described, **changes)  # type: ignore[arg-type] # fields by name


def a_model(
    database: Database,
    name: str = MODEL,
    description: ModelDescription | None = None,
    *,
    aliases: tuple[str, ...] = (),
    state: WorkerState = WorkerState.READY,
) -> uuid.UUID:
    """The id of a worker that registered this model, and what it has said of itself since."""
    worker_id = new_id()
    with database.transaction() as session:
        workers.register(session, worker_id=worker_id, model=name)
        session.flush()
        register_model(
            session, worker_id=worker_id, name=name, aliases=aliases, description=description or a_description()
        )
        workers.report(session, worker_id=worker_id, state=state)
    return worker_id


def a_tenant(session: Session, name: str = "default") -> uuid.UUID:
    tenant = Tenant(name=name, created_at=now(session))
    session.add(tenant)
    session.flush()
    return tenant.id


def a_job(
    database: Database,
    preferences: Sequence[EffectivePreference] = (preference("formal"),),
    *,
    prompts: Sequence[str] | None = None,
    tenant: str = "default",
    model: str = MODEL,
    model_digest: str | None = DIGEST,
    **columns: object,
) -> uuid.UUID:
    """A job of one queued item per preference, in input order, with what else is said of its row."""
    with database.transaction() as session:
        known = session.scalar(select(Tenant.id).where(Tenant.name == tenant))
        tenant_id = known or a_tenant(session, tenant)
        stored = set(session.scalars(select(Preference.hash).where(Preference.tenant_id == tenant_id)))
        for hash_, body in {given.hash: given.body for given in preferences}.items():
            if hash_ not in stored:
                session.add(Preference(tenant_id=tenant_id, hash=hash_, body=body))
        job = Job(
            tenant_id=tenant_id,
            state=JobState.QUEUED,
            model=model,
            model_digest=model_digest,
            details={},
            num_items=len(preferences),
            num_queued=len(preferences),
            **{"created_at": now(session), **columns},
        )
        session.add(job)
        session.flush()
        texts = prompts or [f"prompt {position}" for position in range(len(preferences))]
        session.execute(insert(Item), _item_rows(job, preferences, texts))
        return job.id


def _item_rows(job: Job, preferences: Sequence[EffectivePreference], texts: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "job_id": job.id,
            "position": position,
            "stretch": position // ITEMS_PER_STRETCH,
            "custom_id": f"item-{position}",
            "user_id": f"user-{position}",
            "profile_version": 1,
            "preference_hash": given.hash,
            "model": job.model,
            "model_digest": job.model_digest,
            "messages": [{"role": "user", "content": text}],
            "sampling": SAMPLING,
            "state": ItemState.QUEUED,
            "attempt": 0,
        }
        for position, (given, text) in enumerate(zip(preferences, texts, strict=True))
    ]


def a_profile(
    database: Database,
    *principles: str,
    user_id: str = "ada",
    tenant: str = "default",
    fields: Mapping[str, object] | None = None,
) -> uuid.UUID:
    """The id of a profile with these principles, each of weight 1, whose user agrees to learning."""
    body: dict[str, object] = {
        "principles": [{"text": text, "weight": 1.0} for text in principles],
        "method": None,
        "strength": None,
        "attributes": {},
        "tags": [],
        "metadata": {},
        "learn": True,
    }
    with database.transaction() as session:
        known = session.scalar(select(Tenant.id).where(Tenant.name == tenant))
        created = create_profile(session, known or a_tenant(session, tenant), user_id, body | dict(fields or {}))
        assert created is not None
        return created.profile_id


def some_pairs(
    num_pairs: int, *, chosen: str = "formal", rejected: str = "playful", prompt: str = "tea"
) -> list[PreferredPair]:
    """The user preferred what names one principle to what names another."""
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
    return [PreferredPair(messages, f"{chosen} {number}", f"{rejected} {number}") for number in range(num_pairs)]


@dataclass(frozen=True, slots=True)
class ItemSnapshot:
    """What a test wants to know of an item."""

    position: int
    state: ItemState
    attempt: int
    text: str | None
    error_code: str | None


def items_of(database: Database, job_id: uuid.UUID) -> list[ItemSnapshot]:
    with database.reading() as session:
        rows = session.execute(
            select(Item.position, Item.state, Item.attempt, Result.text, Result.error_code)
            .outerjoin(Result, Result.item_id == Item.id)
            .where(Item.job_id == job_id)
            .order_by(Item.position)
        )
        return [ItemSnapshot(*row) for row in rows]


def states_of(database: Database, job_id: uuid.UUID) -> list[ItemState]:
    return [item.state for item in items_of(database, job_id)]


def job_state(database: Database, job_id: uuid.UUID) -> JobState:
    with database.reading() as session:
        return session.scalars(select(Job.state).where(Job.id == job_id)).one()


def wind_up(database: Database, job_id: uuid.UUID) -> None:
    """Let every item of a cancelled job follow, as workers' sweeps do."""
    is_left = True
    while is_left:
        with database.transaction() as session:
            is_left = cancelling.follow(session, job_id)
