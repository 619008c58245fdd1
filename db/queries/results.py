"""Reading results: items that have ended, in input order, a bounded number at a time."""

import datetime as dt
import uuid
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.base import JsonObject
from db.models import Item, Result
from db.states import TERMINAL_ITEM_STATES, ItemState


class ResultRow(NamedTuple):
    """One ended item and what became of it. A plain tuple: exports read many thousands a second."""

    position: int
    custom_id: str
    user_id: str
    profile_version: int
    preference_hash: str
    state: ItemState
    attempts: int
    finished_at: dt.datetime
    text: str | None
    finish_reason: str | None
    num_prompt_tokens: int | None
    num_completion_tokens: int | None
    reward: float | None
    rewards: list[float] | None
    kl: float | None
    choices: list[JsonObject] | None
    error_code: str | None
    error_message: str | None


_ENDED_ITEMS = select(
    *(Item.position, Item.custom_id, Item.user_id, Item.profile_version, Item.preference_hash),
    *(Item.state, Item.attempt, Item.finished_at),
    *(Result.text, Result.finish_reason, Result.num_prompt_tokens, Result.num_completion_tokens),
    *(Result.reward, Result.rewards, Result.kl, Result.choices, Result.error_code, Result.error_message),
).outerjoin(Result, Result.item_id == Item.id)


def read_results(
    session: Session, *, job_id: uuid.UUID, positions: range, state: ItemState | None = None
) -> list[ResultRow]:
    """The results of the items at these positions, in input order.

    A range of positions, not a limit: it is what keeps PostgreSQL from sorting the whole job for each page.
    """
    states = TERMINAL_ITEM_STATES if state is None else (state,)
    at_positions = Item.position.between(positions.start, positions.stop - 1)
    statement = _ENDED_ITEMS.where(Item.job_id == job_id, at_positions, Item.state.in_(states))
    return [ResultRow._make(row) for row in session.execute(statement.order_by(Item.position))]
