"""Storing what a job consists of: its items, and the preferences they are grouped by."""

import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.base import JsonObject
from db.conflicts import insert_or_ignore
from db.models import Item, Preference, Tenant
from db.states import ItemState


class NewItem(NamedTuple):
    """One accepted item, pinned to a profile version and with everything resolved. A tuple: there are many."""

    position: int
    custom_id: str
    user_id: str
    profile_version: int
    preference_hash: str
    messages: list[JsonObject]
    sampling: JsonObject


def insert_items(
    session: Session, *, job_id: uuid.UUID, model: str, model_digest: str, items: Sequence[NewItem]
) -> None:
    """Queue the items of a job."""
    shared = {"job_id": job_id, "model": model, "model_digest": model_digest, "state": ItemState.QUEUED, "attempt": 0}
    rows = [
        {
            **shared,
            "position": item.position,
            "custom_id": item.custom_id,
            "user_id": item.user_id,
            "profile_version": item.profile_version,
            "preference_hash": item.preference_hash,
            "messages": item.messages,
            "sampling": item.sampling,
        }
        for item in items
    ]
    # On the connection: the rows go straight to the driver, without an object each.
    session.connection().execute(insert(Item), rows)


def store_preferences(session: Session, *, tenant_id: uuid.UUID, bodies: Mapping[str, JsonObject]) -> None:
    """Keep each preference under its hash, once per tenant.

    The tenant's row is locked first: two jobs that bring the same new preferences in different orders would otherwise
    wait for each other in a circle. So this comes last in a transaction.
    """
    if not bodies:
        return
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    rows = [{"tenant_id": tenant_id, "hash": key, "body": body} for key, body in sorted(bodies.items())]
    session.connection().execute(insert_or_ignore(session, Preference), rows)
