"""What is left of a job: its items that have not ended, as they were accepted. Reads only."""

import uuid
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Item, Job, Preference
from domain.json_values import JsonObject
from domain.states import OPEN_ITEM_STATES

ITEMS_PER_PAGE = 500


class OpenItem(NamedTuple):
    """An item that has not ended, with what decoding it needs."""

    position: int
    messages: list[JsonObject]
    sampling: JsonObject
    preference: JsonObject


def open_items(session: Session, job_id: uuid.UUID) -> Iterator[OpenItem]:
    """The job's items that have not ended, in input order; read in pages, so that memory stays flat."""
    page = (
        select(Item.position, Item.messages, Item.sampling, Preference.body)
        .join(Job, Job.id == Item.job_id)
        .join(Preference, (Preference.tenant_id == Job.tenant_id) & (Preference.hash == Item.preference_hash))
        .where(Item.job_id == job_id, Job.finished_at.is_(None), Item.state.in_(OPEN_ITEM_STATES))
        .order_by(Item.position)
        .limit(ITEMS_PER_PAGE)
    )
    last = -1
    while rows := session.execute(page.where(Item.position > last)).all():
        yield from (OpenItem(*row) for row in rows)
        last = rows[-1].position
