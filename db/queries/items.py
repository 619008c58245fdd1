"""Storing what a job consists of: its items, and the preferences they are grouped by.

Workers take a job's items in stretches of ITEMS_PER_STRETCH, in input order, and within a stretch one group after the
other. So grouping overtakes no item by more than the others of its stretch, however rare its group is: that is its
linger, counted in items and not in seconds, so that it is exact however fast the engine is.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.bulk import insert_rows
from db.conflicts import insert_or_ignore
from db.models import Item, Preference, Tenant
from domain.json_values import JsonObject
from domain.states import ItemState

ITEMS_PER_STRETCH = 1024
LOOKED_UP_FIRST = 100
"""So few preferences are looked for before the tenant's row is locked for those that are missing."""


class NewItem(NamedTuple):
    """One accepted item, pinned to a profile version and with everything resolved. A tuple: there are many.

    `messages` and `sampling` are JSON texts, and are stored as they are.
    """

    position: int
    custom_id: str
    user_id: str
    profile_version: int
    preference_hash: str
    messages: str
    sampling: str


_COLUMNS = ("job_id", "model", "model_digest", "state", "attempt", "stretch", *NewItem._fields)


def insert_items(
    session: Session, *, job_id: uuid.UUID, model: str, model_digest: str, items: Iterable[NewItem]
) -> None:
    """Queue the items of a job. The rows go straight to the driver: a job may have hundreds of thousands."""
    shared = (job_id.hex, model, model_digest, ItemState.QUEUED.value, 0)
    rows = ((*shared, item.position // ITEMS_PER_STRETCH, *item) for item in items)
    insert_rows(session, Item.__tablename__, _COLUMNS, rows)


def store_preferences(session: Session, *, tenant_id: uuid.UUID, bodies: Mapping[str, JsonObject]) -> None:
    """Keep each preference under its hash, once per tenant.

    The tenant's row is locked first: two jobs that bring the same new preferences in different orders would otherwise
    wait for each other in a circle. So this comes last in a transaction. A small job mostly brings none that are new,
    and then waits for nobody.
    """
    if not bodies or (len(bodies) <= LOOKED_UP_FIRST and _are_stored(session, tenant_id, list(bodies))):
        return
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    rows = [{"tenant_id": tenant_id, "hash": key, "body": body} for key, body in sorted(bodies.items())]
    session.connection().execute(insert_or_ignore(session, Preference), rows)


def _are_stored(session: Session, tenant_id: uuid.UUID, hashes: list[str]) -> bool:
    """Whether all of these are there. Until this transaction ends none of them is removed."""
    there = select(Preference.hash).where(Preference.tenant_id == tenant_id, Preference.hash.in_(hashes))
    held = there.with_for_update(read=True, key_share=True)
    return len(session.scalars(held).all()) == len(hashes)
