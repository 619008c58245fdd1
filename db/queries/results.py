"""Reading results: items that have ended, in input order, a bounded number at a time."""

import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, or_, select
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import Item, Job, Profile, ProfileVersion, Result
from db.queries.cancelling import CODES, MESSAGES, of_early_end
from domain.json_values import JsonObject
from domain.states import EARLY_ENDS, OPEN_ITEM_STATES, TERMINAL_ITEM_STATES, ItemState

PROFILES_PER_QUERY = 500


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
    stop_text: str | None
    messages: list[JsonObject] | None = None
    """What was asked, where that is read."""


_FOLLOWS = and_(Job.state.in_(list(EARLY_ENDS)), Item.state.in_(OPEN_ITEM_STATES))
"""An item whose job ended early, and whose own row is still to follow: to a reader it has ended with the job."""

_ENDED_ITEMS = (
    select(
        *(Item.position, Item.custom_id, Item.user_id, Item.profile_version, Item.preference_hash),
        case((_FOLLOWS, of_early_end(EARLY_ENDS, Item.state.type)), else_=Item.state),
        Item.attempt,
        case((_FOLLOWS, Job.finished_at), else_=Item.finished_at),
        *(Result.text, Result.finish_reason, Result.num_prompt_tokens, Result.num_completion_tokens),
        *(Result.reward, Result.rewards, Result.kl, Result.choices),
        case((_FOLLOWS, of_early_end(CODES, Result.error_code.type)), else_=Result.error_code),
        case((_FOLLOWS, of_early_end(MESSAGES, Result.error_message.type)), else_=Result.error_message),
        Result.stop_text,
    )
    .join(Job, Job.id == Item.job_id)
    .outerjoin(Result, Result.item_id == Item.id)
)


def read_results(
    session: Session,
    *,
    job_id: uuid.UUID,
    positions: range,
    states: Collection[ItemState] = TERMINAL_ITEM_STATES,
    with_messages: bool = False,
) -> list[ResultRow]:
    """The results of the items at these positions that ended in one of these states, in input order.

    A range of positions, not a limit: it is what keeps PostgreSQL from sorting the whole job for each page.
    """
    at_positions = Item.position.between(positions.start, positions.stop - 1)
    statement = _ENDED_ITEMS.where(Item.job_id == job_id, at_positions, is_among(states))
    statement = statement.order_by(Item.position)
    if with_messages:
        statement = statement.add_columns(Item.messages)
    return [ResultRow(*row) for row in session.connection().execute(statement).all()]


def read_token_rewards(session: Session, *, job_id: uuid.UUID, positions: range) -> dict[int, JsonObject]:
    """What guided the tokens of these items' texts, by position, as far as it was asked for and is there."""
    found = (
        select(Item.position, Result.token_rewards)
        .join(Result, Result.item_id == Item.id)
        .where(Item.job_id == job_id, Item.position.between(positions.start, positions.stop - 1))
    )
    return {position: rewards for position, rewards in session.execute(found) if rewards is not None}


def ended_items() -> Select[*tuple[Any, ...]]:
    """The columns of `ResultRow`, of all items that are joined to their jobs and their results: to be narrowed down."""
    return _ENDED_ITEMS


def is_among(states: Collection[ItemState]) -> ColumnElement[bool]:
    """What holds of an item that ended in one of these states, be it with its job."""
    ends = [job_state for job_state, item_state in EARLY_ENDS.items() if item_state in states]
    return or_(Item.state.in_(states), and_(_FOLLOWS, Job.state.in_(ends)))


def is_kept(session: Session, job_id: uuid.UUID) -> bool:
    """Whether the job is still there, and with it all of its results."""
    kept = select(Job.id).where(Job.id == job_id, Job.deleted_at.is_(None))
    return session.scalars(kept).one_or_none() is not None


def pinned_attributes(
    session: Session, tenant_id: uuid.UUID, pinned: Collection[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, str]]:
    """The attributes in these versions of users' profiles, as far as they are still there."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for some in batches(sorted(pinned), PROFILES_PER_QUERY):
        rows = session.execute(
            select(Profile.user_id, ProfileVersion.version, ProfileVersion.body)
            .join(ProfileVersion, ProfileVersion.profile_id == Profile.id)
            .where(
                Profile.tenant_id == tenant_id,
                Profile.user_id.in_({user_id for user_id, _ in some}),
                ProfileVersion.version.in_({version for _, version in some}),
            )
        )
        for user_id, version, body in rows:
            attributes = body.get("attributes")
            found[user_id, version] = dict(attributes) if isinstance(attributes, dict) else {}
    return found
