"""What a transaction does with items that a worker holds: lock them, end them, or queue them again.

The pieces that `db.queries.claims` and `db.queries.losses` are made of. Each returns what it moved and counts nothing:
whoever puts them together settles all of it, once, at the end (`db.queries.counters`).
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import String, case, cast, select, update
from sqlalchemy.orm import Session

from db.bulk import insert_rows, is_among
from db.models import Item, Result
from db.queries.counters import Moved
from db.session import clock, plans_kept
from domain.attempts import Attempt, Outcome
from domain.states import ItemState

_UNSYNCHRONISED = {"synchronize_session": False}


class Held(NamedTuple):
    """A running item whose row this transaction has locked."""

    item_id: int
    number: int
    job_id: uuid.UUID

    @property
    def attempt(self) -> Attempt:
        """The attempt under which the item is held."""
        return Attempt(self.item_id, self.number)


def lock_held(session: Session, *, owner: uuid.UUID, attempts: Iterable[Attempt]) -> list[Held]:
    """Lock those of the attempts that this owner holds; every write to a claimed item goes through here."""
    wanted = {attempt.item_id: attempt.number for attempt in attempts}
    if not wanted:
        return []
    held = (
        select(Item.id, Item.attempt, cast(Item.job_id, String(36)))
        .where(is_among(Item.id, wanted), Item.lease_owner == owner, Item.state == ItemState.RUNNING)
        .order_by(Item.id)
        .with_for_update()
    )
    rows = session.connection().execute(held).all()
    jobs = {job: uuid.UUID(job) for job in {job for _, _, job in rows}}  # to read and to compare a UUID is slow
    return [Held(item_id, number, jobs[job]) for item_id, number, job in rows if wanted[item_id] == number]


def requeue(session: Session, held: Sequence[Held], *, refund: bool = False) -> list[Moved]:
    """Queue items that this transaction has locked; with a refund their last attempt is as if never made."""
    if not held:
        return []
    session.execute(
        update(Item)
        .where(is_among(Item.id, [one.item_id for one in held]))
        .values(
            state=ItemState.QUEUED,
            lease_owner=None,
            lease_until=None,
            attempt=Item.attempt - 1 if refund else Item.attempt,
        ),
        execution_options=_UNSYNCHRONISED,
    )
    return [Moved(one.item_id, one.job_id, ItemState.RUNNING, ItemState.QUEUED) for one in held]


def end_items(session: Session, held: Mapping[int, Held], outcomes: Sequence[Outcome]) -> list[Moved]:
    """End items that this transaction has locked, each with its outcome as its result."""
    if not outcomes:
        return []
    failed = [outcome.item_id for outcome in outcomes if outcome.state is ItemState.FAILED]
    state = (
        case((is_among(Item.id, failed), ItemState.FAILED), else_=ItemState.SUCCEEDED)
        if failed
        else ItemState.SUCCEEDED
    )
    session.execute(
        update(Item)
        .where(is_among(Item.id, [outcome.item_id for outcome in outcomes]))
        .values(state=state, lease_owner=None, lease_until=None, finished_at=clock()),
        execution_options=_UNSYNCHRONISED,
    )
    with plans_kept(session):
        insert_rows(session, Result.__tablename__, _RESULT_COLUMNS, map(_result_row, outcomes))
    return [
        Moved(outcome.item_id, held[outcome.item_id].job_id, ItemState.RUNNING, outcome.state) for outcome in outcomes
    ]


def _result_row(outcome: Outcome) -> tuple[object, ...]:
    return (
        outcome.item_id,
        outcome.text,
        outcome.finish_reason,
        outcome.num_prompt_tokens,
        outcome.num_completion_tokens,
        outcome.reward,
        None if outcome.rewards is None else json.dumps(outcome.rewards),
        outcome.kl,
        None if outcome.choices is None else json.dumps(outcome.choices),
        outcome.error_code,
        outcome.error_message,
        outcome.stop_text,
        None if outcome.token_rewards is None else json.dumps(outcome.token_rewards),
    )


_RESULT_COLUMNS = (
    *("item_id", "text", "finish_reason", "num_prompt_tokens", "num_completion_tokens", "reward", "rewards", "kl"),
    *("choices", "error_code", "error_message", "stop_text", "token_rewards"),
)
