"""Whom a campaign addresses: users by tags, by user id, a bounded number at a time. Pages are read by an index.

Each page walks the tenant's user ids in order and looks each profile's tags up: an audience, however its tags are
put together, costs one pass over the tenant's profiles.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from db.batches import batches
from db.models import Profile, ProfileTag
from db.queries.profiles import PinnedProfile, resolve_profiles

USERS_PER_PAGE = 500
IDS_PER_PAGE = 5000


@dataclass(frozen=True, slots=True)
class Tagged:
    """Profiles with any of some tags, all of others, and none of a third kind; what is empty asks for nothing."""

    any_of: Sequence[str] = ()
    all_of: Sequence[str] = ()
    none_of: Sequence[str] = ()


EVERYBODY = Tagged()


def audience(session: Session, tenant_id: uuid.UUID, tagged: Tagged = EVERYBODY) -> Iterator[PinnedProfile]:
    """The profiles that fit, by user id. Read in pages: an audience may be larger than memory."""
    for page in _pages(session, tenant_id, tagged, USERS_PER_PAGE):
        profiles = resolve_profiles(session, tenant_id, page)
        yield from (profiles[user_id] for user_id in page if user_id in profiles)


def user_ids(session: Session, tenant_id: uuid.UUID, tagged: Tagged = EVERYBODY) -> Iterator[str]:
    """Their user ids alone, in order: no profile is read."""
    for page in _pages(session, tenant_id, tagged, IDS_PER_PAGE):
        yield from page


def unknown_among(session: Session, tenant_id: uuid.UUID, wanted: Sequence[str]) -> list[str]:
    """The user ids among `wanted` that have no profile, in the order given."""
    known: set[str] = set()
    for some in batches(dict.fromkeys(wanted), USERS_PER_PAGE):
        found = select(Profile.user_id).where(Profile.tenant_id == tenant_id, Profile.user_id.in_(some))
        known.update(session.scalars(found))
    return [user_id for user_id in dict.fromkeys(wanted) if user_id not in known]


def _pages(session: Session, tenant_id: uuid.UUID, tagged: Tagged, size: int) -> Iterator[list[str]]:
    query = _fitting(tenant_id, tagged).order_by(Profile.user_id).limit(size)
    page = list(session.scalars(query))
    while page:
        yield page
        if len(page) < size:
            return
        page = list(session.scalars(query.where(Profile.user_id > page[-1])))


def _fitting(tenant_id: uuid.UUID, tagged: Tagged) -> Select[str]:
    query = select(Profile.user_id).where(Profile.tenant_id == tenant_id)
    if tagged.any_of:
        query = query.where(_has(tagged.any_of))
    if tagged.all_of:
        wanted = set(tagged.all_of)
        num_found = select(func.count()).where(ProfileTag.profile_id == Profile.id, ProfileTag.tag.in_(wanted))
        query = query.where(num_found.correlate(Profile).scalar_subquery() == len(wanted))
    if tagged.none_of:
        query = query.where(~_has(tagged.none_of))
    return query


def _has(tags: Sequence[str]) -> ColumnElement[bool]:
    """Whether the profile has any of these tags."""
    return exists().where(ProfileTag.profile_id == Profile.id, ProfileTag.tag.in_(tags)).correlate(Profile)
