"""Finding results in a job of any size: a page of them costs what it shows, a search no more than a bounded time."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, union_all
from sqlalchemy.orm import Session

from db.models import Item, Result
from db.queries.jobs import JobRecord
from db.queries.results import ResultRow, ended_items, is_among
from domain.states import EARLY_ENDS, OPEN_ITEM_STATES, TERMINAL_ITEM_STATES, ItemState

SEARCH_SECONDS = 0.4
"""How long a search goes on before it says how far it came."""
STATEMENT_SECONDS = 0.05
"""What each of its statements is to take, about: the next is larger or smaller for that."""
FIRST_WINDOW = 1000
"""Items that the first of them looks at."""
MOST_GROWTH = 2.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked for in a job's results."""

    text: str = ""
    """In the item's name, its user's, its text or its error, whatever the case; empty for all."""
    states: Collection[ItemState] = TERMINAL_ITEM_STATES
    after: int = -1
    """The results behind this position, the first ones first."""
    before: int | None = None
    """Where it is given: the results in front of this position, the last ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """Some results in input order."""

    rows: Sequence[ResultRow]
    looked_to: int | None = None
    """The last position that was looked at, where time ran out; None where nothing was left out."""


def find_results(session: Session, job: JobRecord, looked: Looked, *, limit: int) -> Found:
    """At most `limit` of the results that are looked for."""
    if looked.text:
        return _search(session, job, looked, limit)
    positions = _positions(session, job, looked, limit)
    rows = session.execute(ended_items().where(Item.job_id == job.id, Item.position.in_(positions)))
    return Found(sorted(ResultRow(*row) for row in rows))


def find_named(session: Session, job: JobRecord, custom_id: str) -> ResultRow | None:
    """The result of the item that has this very name, if it has ended."""
    named = ended_items().where(Item.job_id == job.id, Item.custom_id == custom_id, is_among(TERMINAL_ITEM_STATES))
    row = session.execute(named).one_or_none()
    return None if row is None else ResultRow(*row)


def _positions(session: Session, job: JobRecord, looked: Looked, limit: int) -> list[int]:
    """Each state is read in the order of an index, as far as is wanted: no plan reads the whole job for a page."""
    stored = set(looked.states)
    if EARLY_ENDS.get(job.state) in stored:  # items whose own rows are still to follow
        stored |= set(OPEN_ITEM_STATES)
    of_states = []
    for state in sorted(stored):
        some = select(Item.position).where(Item.job_id == job.id, Item.state == state).limit(limit)
        if looked.before is None:
            some = some.where(Item.position > looked.after).order_by(Item.position)
        else:
            some = some.where(Item.position < looked.before).order_by(Item.position.desc())
        of_states.append(select(some.subquery()))
    return sorted(session.scalars(union_all(*of_states)), reverse=looked.before is not None)[:limit]


def _search(session: Session, job: JobRecord, looked: Looked, limit: int) -> Found:
    """One stretch of positions after the other, until there are enough, or nothing or no time is left."""
    wanted = ended_items().where(Item.job_id == job.id, is_among(looked.states), _holds(looked.text))
    is_backwards = looked.before is not None
    places = range(looked.before) if looked.before is not None else range(looked.after + 1, job.counts.total)
    order = Item.position.desc() if is_backwards else Item.position
    found: list[ResultRow] = []
    until = time.monotonic() + SEARCH_SECONDS
    for window in _windows(places, is_backwards=is_backwards):
        statement = wanted.where(Item.position.between(window.start, window.stop - 1)).limit(limit - len(found))
        found += [ResultRow(*row) for row in session.execute(statement.order_by(order))]
        if len(found) == limit:
            break
        is_last = window.start == places.start if is_backwards else window.stop == places.stop
        if time.monotonic() >= until and not is_last:
            return Found(sorted(found), window.start if is_backwards else window.stop - 1)
    return Found(sorted(found))


def _windows(places: range, *, is_backwards: bool) -> Iterator[range]:
    """All of these positions, in parts that grow and shrink with the time that each has taken."""
    size, began = FIRST_WINDOW, time.monotonic()
    while places:
        window = places[-size:] if is_backwards else places[:size]
        places = places[:-size] if is_backwards else places[size:]
        yield window
        moment = time.monotonic()
        growth = STATEMENT_SECONDS / max(moment - began, 1e-6)
        size, began = max(FIRST_WINDOW, int(size * min(growth, MOST_GROWTH))), moment


def _holds(text: str) -> ColumnElement[bool]:
    columns = (Item.custom_id, Item.user_id, Result.text, Result.error_code, Result.error_message)
    return or_(*(column.icontains(text, autoescape=True) for column in columns))
