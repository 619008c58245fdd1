"""What a person looks at of one job: found results, how it went over time, its two sides, one item. Reads only."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, case, cast, extract, func, literal_column, or_, select
from sqlalchemy.orm import Session

from db.models import Item, Job, Result
from db.queries.results import ResultRow, ended_items, is_among
from domain.json_values import JsonObject
from domain.states import TERMINAL_ITEM_STATES, ItemState


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked for in a job's results."""

    text: str = ""
    """In the item's name, its user's, its text or its error, whatever the case; empty for all."""
    states: Collection[ItemState] = TERMINAL_ITEM_STATES


@dataclass(frozen=True, slots=True)
class Side:
    """The ended items of a job that were written one way."""

    num_items: int
    num_succeeded: int
    mean_tokens: float | None
    mean_reward: float | None
    mean_kl: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for one item."""

    custom_id: str
    user_id: str
    messages: list[JsonObject]
    sampling: JsonObject
    text: str | None


def find_results(
    session: Session, job_id: uuid.UUID, looked: Looked, *, limit: int, after: int = -1, before: int | None = None
) -> Sequence[ResultRow]:
    """At most `limit` results behind a position, in input order; with `before` the last ones in front of that."""
    statement = ended_items().where(Item.job_id == job_id, is_among(looked.states)).limit(limit)
    if looked.text:
        columns = (Item.custom_id, Item.user_id, Result.text, Result.error_code, Result.error_message)
        statement = statement.where(or_(*(column.icontains(looked.text, autoescape=True) for column in columns)))
    if before is None:
        rows = session.execute(statement.where(Item.position > after).order_by(Item.position))
        return [ResultRow(*row) for row in rows]
    rows = session.execute(statement.where(Item.position < before).order_by(Item.position.desc()))
    return [ResultRow(*row) for row in rows][::-1]


def ends_over_time(
    session: Session, job_id: uuid.UUID, *, since: dt.datetime, bucket_seconds: int
) -> dict[tuple[int, ItemState], int]:
    """How many items ended how, by the number of the stretch of `bucket_seconds` since `since` in which they did."""
    epoch: ColumnElement[Any] = extract("epoch", Item.finished_at)
    if session.get_bind().dialect.name == "postgresql":  # which has fractions there, and rounds where it casts
        epoch = func.floor(epoch)
    # Written out: PostgreSQL takes two parameters for two values, and what is grouped by for something else.
    begin, size = (literal_column(str(int(number)), BigInteger) for number in (since.timestamp(), bucket_seconds))
    bucket = cast((cast(epoch, BigInteger) - begin) // size, Integer)
    counted = (
        select(bucket, Item.state, func.count())
        .where(Item.job_id == job_id, Item.state.in_(TERMINAL_ITEM_STATES), Item.finished_at.is_not(None))
        .group_by(bucket, Item.state)
    )
    return {(max(number, 0), state): count for number, state, count in session.execute(counted)}


def sides(session: Session, job_id: uuid.UUID, *, unguided_hash: str) -> tuple[Side, Side]:
    """What was guided, and what was not: the items of the preference `unguided_hash`."""
    is_unguided = Item.preference_hash == unguided_hash
    return _side(session, job_id, ~is_unguided), _side(session, job_id, is_unguided)


def find_item(session: Session, *, tenant_id: uuid.UUID, job_id: uuid.UUID, position: int) -> Asked | None:
    """What was asked at this position of the tenant's job, and the text if it has one."""
    row = session.execute(
        select(Item.custom_id, Item.user_id, Item.messages, Item.sampling, Result.text)
        .join(Job, Job.id == Item.job_id)
        .outerjoin(Result, Result.item_id == Item.id)
        .where(Job.tenant_id == tenant_id, Job.id == job_id, Job.deleted_at.is_(None), Item.position == position)
    ).one_or_none()
    return None if row is None else Asked(*row)


def _side(session: Session, job_id: uuid.UUID, which: ColumnElement[bool]) -> Side:
    has_succeeded = Item.state == ItemState.SUCCEEDED
    counted = (
        select(
            func.count(),
            func.coalesce(func.sum(case((has_succeeded, 1), else_=0)), 0),
            func.avg(Result.num_completion_tokens),
            func.avg(Result.reward),
            func.avg(Result.kl),
        )
        .select_from(Item)
        .outerjoin(Result, and_(Result.item_id == Item.id, has_succeeded))
        .where(Item.job_id == job_id, Item.state.in_(TERMINAL_ITEM_STATES), which)
    )
    num_items, num_succeeded, *means = session.execute(counted).one()
    return Side(num_items, num_succeeded, *(None if mean is None else float(mean) for mean in means))
