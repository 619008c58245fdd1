"""What a page says of all profiles together. The profiles themselves: `db.queries.profiles`."""

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Profile, ProfileTag


def num_profiles(session: Session, tenant_id: uuid.UUID) -> int:
    """Number of profiles that the tenant has."""
    return session.scalars(select(func.count()).where(Profile.tenant_id == tenant_id)).one()


def frequent_tags(session: Session, tenant_id: uuid.UUID, *, limit: int) -> list[str]:
    """The tags that most profiles have, by name."""
    query = select(ProfileTag.tag).where(ProfileTag.tenant_id == tenant_id).group_by(ProfileTag.tag)
    return sorted(session.scalars(query.order_by(func.count().desc(), ProfileTag.tag).limit(limit)))
