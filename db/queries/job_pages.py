"""What a person looks at of one job: how a part of it went over time, its two sides, one item. Reads only."""

import datetime as dt
import uuid
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, case, cast, extract, func, literal_column, select
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from domain.json_values import JsonObject
from domain.states import TERMINAL_ITEM_STATES, ItemState

Ends: TypeAlias = dict[tuple[int, ItemState], int]
"""How many items ended how, by the number of the stretch of so many seconds since a moment in which they did."""


@dataclass(frozen=True, slots=True)
class Side:
    """The ended items of a job that were written one way, as sums: parts of a job add up."""

    num_items: int = 0
    num_succeeded: int = 0
    num_tokens: int = 0
    reward: float = 0.0
    num_rewarded: int = 0
    kl: float = 0.0
    num_with_kl: int = 0

    def __add__(self, other: "Side") -> "Side":
        return Side(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def mean_tokens(self) -> float | None:
        """Of those that succeeded; None where none has."""
        return self.num_tokens / self.num_succeeded if self.num_succeeded else None

    @property
    def mean_reward(self) -> float | None:
        """Of those that have one."""
        return self.reward / self.num_rewarded if self.num_rewarded else None

    @property
    def mean_kl(self) -> float | None:
        """Of those that have one."""
        return self.kl / self.num_with_kl if self.num_with_kl else None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for one item."""

    custom_id: str
    user_id: str
    messages: list[JsonObject]
    sampling: JsonObject
    text: str | None


def ends_over_time(
    session: Session, job_id: uuid.UUID, positions: range, *, since: dt.datetime, bucket_seconds: int
) -> Ends:
    """How many of the items at these positions ended how, and when."""
    epoch: ColumnElement[Any] = extract("epoch", Item.finished_at)
    if session.get_bind().dialect.name == "postgresql":  # which has fractions there, and rounds where it casts
        epoch = func.floor(epoch)
    # Written out: PostgreSQL takes two parameters for two values, and what is grouped by for something else.
    begin, size = (literal_column(str(int(number)), BigInteger) for number in (since.timestamp(), bucket_seconds))
    bucket = cast((cast(epoch, BigInteger) - begin) // size, Integer)
    counted = (
        select(bucket, Item.state, func.count())
        .where(*_ended_at(job_id, positions), Item.finished_at.is_not(None))
        .group_by(bucket, Item.state)
    )
    return {(max(number, 0), state): count for number, state, count in session.execute(counted)}


def sides(session: Session, job_id: uuid.UUID, positions: range, *, unguided_hash: str) -> tuple[Side, Side]:
    """What was guided at these positions, and what was not: the items of the preference `unguided_hash`."""
    is_unguided = Item.preference_hash == unguided_hash
    has_succeeded = Item.state == ItemState.SUCCEEDED
    columns = (
        func.count(),
        func.count(case((has_succeeded, 1))),
        *(func.coalesce(func.sum(column), 0) for column in (Result.num_completion_tokens, Result.reward)),
        *(func.count(Result.reward), func.coalesce(func.sum(Result.kl), 0), func.count(Result.kl)),
    )
    counted = (
        select(is_unguided, *columns)
        .select_from(Item)
        .outerjoin(Result, and_(Result.item_id == Item.id, has_succeeded))
        .where(*_ended_at(job_id, positions))
        .group_by(is_unguided)
    )
    found = {bool(row[0]): Side(*row[1:]) for row in session.execute(counted)}
    return found.get(False, Side()), found.get(True, Side())


def find_item(session: Session, *, tenant_id: uuid.UUID, job_id: uuid.UUID, position: int) -> Asked | None:
    """What was asked at this position of the tenant's job, and the text if it has one."""
    row = session.execute(
        select(Item.custom_id, Item.user_id, Item.messages, Item.sampling, Result.text)
        .join(Job, Job.id == Item.job_id)
        .outerjoin(Result, Result.item_id == Item.id)
        .where(Job.tenant_id == tenant_id, Job.id == job_id, Job.deleted_at.is_(None), Item.position == position)
    ).one_or_none()
    return None if row is None else Asked(*row)


def _ended_at(job_id: uuid.UUID, positions: range) -> tuple[ColumnElement[bool], ...]:
    at_positions = Item.position.between(positions.start, positions.stop - 1)
    return Item.job_id == job_id, Item.state.in_(TERMINAL_ITEM_STATES), at_positions
