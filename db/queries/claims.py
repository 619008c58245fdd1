"""The claim protocol: take queued items under a lease, keep the lease, save what was decoded, give back the rest.

Every write names the state, the owner and the attempt it expects. A worker that was presumed dead can therefore say
whatever it likes: its writes change nothing. Rows are locked in the order of their ids, so that two writers never
wait for each other in a circle.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, Update, and_, exists, insert, select, tuple_, update
from sqlalchemy.orm import Session

from db.base import JsonObject
from db.models import Item, Job, Preference, Result
from db.session import now
from db.states import OPEN_ITEM_STATES, ItemState, JobState

EXPIRED_PER_SWEEP = 1000


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """One item under lease: everything needed to decode it."""

    item_id: int
    job_id: uuid.UUID
    attempt: int
    messages: list[JsonObject]
    preference: JsonObject
    sampling: JsonObject


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at an item ended: a text, or the reason why there is none."""

    item_id: int
    attempt: int
    text: str | None = None
    finish_reason: str | None = None
    num_prompt_tokens: int | None = None
    num_completion_tokens: int | None = None
    reward: float | None = None
    rewards: tuple[float, ...] | None = None
    kl: float | None = None
    choices: tuple[JsonObject, ...] | None = None
    error_code: str | None = None
    error_message: str | None = None

    @property
    def state(self) -> ItemState:
        """The terminal state this outcome brings its item to."""
        return ItemState.SUCCEEDED if self.error_code is None else ItemState.FAILED


def claim(
    session: Session, *, owner: uuid.UUID, model_digest: str, limit: int, lease_seconds: float
) -> list[ClaimedItem]:
    """Lease up to `limit` queued items: the oldest job's groups first, topped up from further groups and jobs."""
    moment = now(session)
    claimable = (
        select(Item.id)
        .where(Item.state == ItemState.QUEUED, Item.model_digest == model_digest)
        .order_by(Item.job_id, Item.preference_hash, Item.position)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = _update_locked(claimable).where(Item.state == ItemState.QUEUED)
    taken = session.scalars(
        statement.values(
            state=ItemState.RUNNING,
            lease_owner=owner,
            lease_until=moment + dt.timedelta(seconds=lease_seconds),
            attempt=Item.attempt + 1,
        ).returning(Item.id)
    ).all()
    return _claimed(session, taken) if taken else []


def _claimed(session: Session, item_ids: Sequence[int]) -> list[ClaimedItem]:
    rows = session.execute(
        select(Item.id, Item.job_id, Item.attempt, Item.messages, Preference.body, Item.sampling)
        .join(Job, Job.id == Item.job_id)
        .join(Preference, and_(Preference.tenant_id == Job.tenant_id, Preference.hash == Item.preference_hash))
        .where(Item.id.in_(item_ids))
        .order_by(Item.job_id, Item.preference_hash, Item.position)
    )
    return [ClaimedItem(*row) for row in rows]


def extend(session: Session, *, owner: uuid.UUID, lease_seconds: float) -> set[int]:
    """Extend every lease of `owner` and return the items it still holds; an item that is missing was taken away."""
    held = select(Item.id).where(Item.lease_owner == owner, Item.state == ItemState.RUNNING)
    statement = _update_locked(held.order_by(Item.id).with_for_update())
    until = now(session) + dt.timedelta(seconds=lease_seconds)
    return set(session.scalars(statement.values(lease_until=until).returning(Item.id)))


def save(session: Session, *, owner: uuid.UUID, outcomes: Iterable[Outcome]) -> set[uuid.UUID]:
    """Keep each outcome whose item this owner still holds under the same attempt; return the jobs that moved on."""
    by_item = {outcome.item_id: outcome for outcome in outcomes}
    moment = now(session)
    jobs: set[uuid.UUID] = set()
    for state in (ItemState.SUCCEEDED, ItemState.FAILED):
        ended = [outcome for outcome in by_item.values() if outcome.state is state]
        if not ended:
            continue
        held = select(Item.id).where(
            tuple_(Item.id, Item.attempt).in_([(outcome.item_id, outcome.attempt) for outcome in ended]),
            Item.lease_owner == owner,
            Item.state == ItemState.RUNNING,
        )
        statement = _update_locked(held.order_by(Item.id).with_for_update()).where(Item.state == ItemState.RUNNING)
        saved = session.execute(_end(statement, state, moment).returning(Item.id, Item.job_id)).all()
        jobs.update(job_id for _, job_id in saved)
        if saved:
            session.execute(insert(Result), [_result_row(by_item[item_id]) for item_id, _ in saved])
    return jobs


def release(session: Session, *, owner: uuid.UUID, item_ids: Iterable[int]) -> None:
    """Put items back into the queue untried: an attempt that was not made costs none."""
    held = select(Item.id).where(
        Item.id.in_(list(item_ids)), Item.lease_owner == owner, Item.state == ItemState.RUNNING
    )
    statement = _update_locked(held.order_by(Item.id).with_for_update())
    session.execute(
        statement.values(state=ItemState.QUEUED, lease_owner=None, lease_until=None, attempt=Item.attempt - 1)
    )


def expire(session: Session, *, max_attempts: int) -> int:
    """Take back items whose lease ran out: queued again, or failed after `max_attempts`. Returns how many."""
    moment = now(session)
    overdue = select(Item.id).where(Item.state == ItemState.RUNNING, Item.lease_until < moment)
    exhausted = _update_locked(_skipping_locked(overdue.where(Item.attempt >= max_attempts)))
    failed = session.scalars(_end(exhausted, ItemState.FAILED, moment).returning(Item.id)).all()
    if failed:
        message = f"The worker was lost {max_attempts} times while it decoded this item."
        rows = [{"item_id": item_id, "error_code": "worker_lost", "error_message": message} for item_id in failed]
        session.execute(insert(Result), rows)
    again = _update_locked(_skipping_locked(overdue.where(Item.attempt < max_attempts)))
    requeued = session.scalars(
        again.values(state=ItemState.QUEUED, lease_owner=None, lease_until=None).returning(Item.id)
    ).all()
    return len(failed) + len(requeued)


def mark_started(session: Session, job_ids: Iterable[uuid.UUID]) -> None:
    """Note that the jobs' first items are being decoded; a job that started before keeps its moment."""
    session.execute(
        update(Job)
        .where(Job.id.in_(list(job_ids)), Job.state == JobState.QUEUED)
        .values(state=JobState.RUNNING, started_at=now(session))
    )


def claimable_jobs(session: Session, *, model_digest: str) -> list[uuid.UUID]:
    """Open jobs with queued items for this model, oldest first."""
    queued = exists().where(Item.job_id == Job.id, Item.state == ItemState.QUEUED)
    statement = select(Job.id).where(Job.finished_at.is_(None), Job.model_digest == model_digest, queued)
    return list(session.scalars(statement.order_by(Job.id)))


def ended_jobs(session: Session) -> list[uuid.UUID]:
    """Open jobs whose items have all ended: somebody has to finalise them."""
    still_open = exists().where(Item.job_id == Job.id, Item.state.in_(OPEN_ITEM_STATES))
    statement = select(Job.id).where(Job.finished_at.is_(None), ~still_open)
    return list(session.scalars(statement.order_by(Job.id)))


def _update_locked(ids: Select[int]) -> Update:
    """An UPDATE of the rows that `ids` locks. Materialised: PostgreSQL may run a plain sub-select more than once."""
    locked = ids.cte("locked").prefix_with("MATERIALIZED", dialect="postgresql")
    return update(Item).where(Item.id.in_(select(locked.c.id))).execution_options(synchronize_session=False)


def _skipping_locked(ids: Select[int]) -> Select[int]:
    return ids.order_by(Item.id).limit(EXPIRED_PER_SWEEP).with_for_update(skip_locked=True)


def _end(statement: Update, state: ItemState, moment: dt.datetime) -> Update:
    return statement.values(state=state, lease_owner=None, lease_until=None, finished_at=moment)


def _result_row(outcome: Outcome) -> dict[str, object]:
    return {
        "item_id": outcome.item_id,
        "text": outcome.text,
        "finish_reason": outcome.finish_reason,
        "num_prompt_tokens": outcome.num_prompt_tokens,
        "num_completion_tokens": outcome.num_completion_tokens,
        "reward": outcome.reward,
        "rewards": None if outcome.rewards is None else list(outcome.rewards),
        "kl": outcome.kl,
        "choices": None if outcome.choices is None else list(outcome.choices),
        "error_code": outcome.error_code,
        "error_message": outcome.error_message,
    }
