"""What an item that waits may be told of others' work: that it is there, and nothing more."""

import uuid

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from db.models import Item, Job
from db.states import OPEN_ITEM_STATES


def is_behind_others(session: Session, *, job_id: uuid.UUID, tenant_id: uuid.UUID, model_digest: str | None) -> bool:
    """Whether the workers of this model have other tenants' earlier items to do, or are doing them."""
    earlier = exists().where(
        Job.tenant_id != tenant_id,
        Job.finished_at.is_(None),
        Job.model_digest == model_digest,
        Job.id < job_id,
        Item.job_id == Job.id,
        Item.state.in_(OPEN_ITEM_STATES),
    )
    return session.scalars(select(earlier)).one()
