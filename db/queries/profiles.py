"""Profiles: read, list, resolve and write one at a time. Bodies arrive canonical; nothing here validates them.

A write that lost against another writer changes nothing and says so: its caller reads again and decides anew.
"""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, delete, insert, select, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.batches import batches
from db.conflicts import insert_or_ignore
from db.models import Profile, ProfileTag, ProfileVersion
from db.session import now
from domain.json_values import JsonObject
from domain.preferences import digest

ROWS_PER_QUERY = 500

# The columns of `StoredProfile`, in its order.
StoredProfiles = Select[uuid.UUID, str, int, JsonObject, str, dt.datetime, dt.datetime, JsonObject | None]


@dataclass(frozen=True, slots=True)
class PinnedProfile:
    """A profile as a job pins it."""

    user_id: str
    version: int
    body: JsonObject


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """One version of a profile. `profile_id` tells apart two profiles that one user had before and after a deletion."""

    profile_id: uuid.UUID
    user_id: str
    version: int
    body: JsonObject
    digest: str
    created_at: dt.datetime
    updated_at: dt.datetime
    learned: JsonObject | None = None
    """What the version was learnt from, where feedback wrote it."""


def find_profile(
    session: Session, tenant_id: uuid.UUID, user_id: str, *, for_update: bool = False
) -> StoredProfile | None:
    """A user's profile, its newest version. `for_update` makes other writers of it wait until this transaction ends."""
    if for_update:  # a statement of its own: a join would be evaluated before the wait
        head = select(Profile.id).where(Profile.tenant_id == tenant_id, Profile.user_id == user_id)
        session.execute(head.with_for_update())
    return _stored(session, _newest(tenant_id).where(Profile.user_id == user_id))


def find_version(session: Session, tenant_id: uuid.UUID, user_id: str, version: int) -> StoredProfile | None:
    """One version of a user's profile, as it was written."""
    query = _every_version(tenant_id).where(Profile.user_id == user_id, ProfileVersion.version == version)
    return _stored(session, query)


def list_versions(
    session: Session, tenant_id: uuid.UUID, user_id: str, *, before: int | None, limit: int
) -> list[StoredProfile]:
    """Versions of a user's profile, the newest first, those below `before` only."""
    query = _every_version(tenant_id).where(Profile.user_id == user_id)
    if before is not None:
        query = query.where(ProfileVersion.version < before)
    rows = session.execute(query.order_by(ProfileVersion.version.desc()).limit(limit))
    return [StoredProfile(*row) for row in rows]


def list_profiles(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    tags: Sequence[str] = (),
    after: str | None = None,
    limit: int,
    containing: str = "",
) -> list[StoredProfile]:
    """Profiles in the order of their user ids, from behind `after`; with `tags`, those that have any of them.

    `containing`: only those whose user id has this part, in upper or lower case.
    """
    query = _newest(tenant_id)
    if containing:
        query = query.where(Profile.user_id.icontains(containing, autoescape=True))
    if tags:
        tagged = select(ProfileTag.profile_id).where(ProfileTag.tenant_id == tenant_id, ProfileTag.tag.in_(tags))
        query = query.where(Profile.id.in_(tagged))
    if after is not None:
        query = query.where(Profile.user_id > after)
    return [StoredProfile(*row) for row in session.execute(query.order_by(Profile.user_id).limit(limit))]


def resolve_profiles(session: Session, tenant_id: uuid.UUID, user_ids: Sequence[str]) -> dict[str, PinnedProfile]:
    """The newest version of each of these users' profiles; a user without a profile is not in the answer."""
    found: dict[str, PinnedProfile] = {}
    for some in batches(dict.fromkeys(user_ids), ROWS_PER_QUERY):
        rows = session.execute(_newest(tenant_id).where(Profile.user_id.in_(some)))
        found.update((row.user_id, PinnedProfile(row.user_id, row.version, row.body)) for row in rows)
    return found


def create_profile(session: Session, tenant_id: uuid.UUID, user_id: str, body: JsonObject) -> StoredProfile | None:
    """Store version 1. None when the user has a profile by now."""
    moment = now(session)
    profile_id = session.scalars(
        insert_or_ignore(session, Profile)
        .values(id=new_id(), tenant_id=tenant_id, user_id=user_id, version=1, created_at=moment, updated_at=moment)
        .returning(Profile.id)
    ).one_or_none()
    if profile_id is None:
        return None
    return _write_version(session, tenant_id, StoredProfile(profile_id, user_id, 1, body, digest(body), moment, moment))


def update_profile(
    session: Session, tenant_id: uuid.UUID, stored: StoredProfile, body: JsonObject, learned: JsonObject | None = None
) -> StoredProfile | None:
    """Store the version after `stored`. None when that is no longer the newest."""
    moment, version = now(session), stored.version + 1
    updated = session.scalars(
        update(Profile)
        .where(Profile.id == stored.profile_id, Profile.version == stored.version)
        .values(version=version, updated_at=moment)
        .returning(Profile.id)
    ).one_or_none()
    if updated is None:
        return None
    session.execute(delete(ProfileTag).where(ProfileTag.profile_id == stored.profile_id))
    written = StoredProfile(
        *(stored.profile_id, stored.user_id, version, body, digest(body), stored.created_at),
        updated_at=moment,
        learned=learned,
    )
    return _write_version(session, tenant_id, written)


def delete_profile(session: Session, tenant_id: uuid.UUID, stored: StoredProfile) -> bool:
    """Remove a profile with all its versions. False when `stored` is no longer its newest version."""
    deleted = session.scalars(
        delete(Profile)
        .where(Profile.id == stored.profile_id, Profile.tenant_id == tenant_id, Profile.version == stored.version)
        .returning(Profile.id)
    )
    return deleted.one_or_none() is not None


def tags_of(body: JsonObject) -> Iterable[str]:
    """The tags of a canonical body."""
    tags = body.get("tags")
    return (str(tag) for tag in tags) if isinstance(tags, list) else ()


def _write_version(session: Session, tenant_id: uuid.UUID, profile: StoredProfile) -> StoredProfile:
    session.execute(
        insert(ProfileVersion).values(
            profile_id=profile.profile_id,
            version=profile.version,
            body=profile.body,
            digest=profile.digest,
            learned=profile.learned,
            created_at=profile.updated_at,
        )
    )
    tags = [{"profile_id": profile.profile_id, "tag": tag, "tenant_id": tenant_id} for tag in tags_of(profile.body)]
    if tags:
        session.execute(insert(ProfileTag), tags)
    return profile


def _newest(tenant_id: uuid.UUID) -> StoredProfiles:
    """Each profile of a tenant with its newest version, as the fields of `StoredProfile`."""
    return _every_version(tenant_id).where(ProfileVersion.version == Profile.version)


def _every_version(tenant_id: uuid.UUID) -> StoredProfiles:
    return (
        select(
            Profile.id,
            Profile.user_id,
            ProfileVersion.version,
            ProfileVersion.body,
            ProfileVersion.digest,
            Profile.created_at,
            ProfileVersion.created_at.label("updated_at"),
            ProfileVersion.learned,
        )
        .join(ProfileVersion, and_(ProfileVersion.profile_id == Profile.id))
        .where(Profile.tenant_id == tenant_id)
    )


def _stored(session: Session, query: StoredProfiles) -> StoredProfile | None:
    row = session.execute(query).one_or_none()
    return None if row is None else StoredProfile(*row)
