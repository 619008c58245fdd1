"""Profiles in bulk: compare what a batch makes of the stored profiles with them, and store what differs.

Bodies arrive canonical. What a client says of weights is held against what it said before, not against what feedback
has made of it since (`Said`).
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from db.base import new_id
from db.conflicts import insert_or_ignore
from db.models import Profile, ProfileTag, ProfileVersion, Tenant
from db.queries.profiles import tags_of
from db.session import now
from domain.json_values import JsonObject
from domain.preferences import digest


@dataclass(frozen=True, slots=True)
class Said:
    """A stored profile beside a client's next word on it."""

    body: JsonObject
    forms: Sequence[object]
    """The principles that its own were learnt from: as a client stated them, and as each fit to them left them.

    Empty where they are a client's.
    """


@dataclass(frozen=True, slots=True)
class Row:
    """What a client says of one user: the body that it makes of what is stored, or of nothing."""

    user_id: str
    change: Callable[[Said | None], JsonObject]


@dataclass(frozen=True, slots=True)
class NewProfile:
    """What a user's profile is to be."""

    user_id: str
    body: JsonObject


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """How many profiles of a batch were created, changed and left as they were."""

    num_created: int = 0
    num_updated: int = 0
    num_unchanged: int = 0

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        return ImportCounts(
            self.num_created + other.num_created,
            self.num_updated + other.num_updated,
            self.num_unchanged + other.num_unchanged,
        )


@dataclass(frozen=True, slots=True)
class _NewVersion:
    """One version to be written."""

    profile_id: uuid.UUID
    version: int
    profile: NewProfile


@dataclass(frozen=True, slots=True)
class _Fit:
    """The principles as a fit left them, and the version that it began with."""

    principles: object
    base: object


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The profiles of one batch of an import compared with the stored ones: which are new, changed, unchanged."""

    created: Sequence[NewProfile]
    updated: Sequence[_NewVersion]
    num_unchanged: int

    @property
    def counts(self) -> ImportCounts:
        return ImportCounts(len(self.created), len(self.updated), self.num_unchanged)


def wait_for_other_imports(session: Session, tenant_id: uuid.UUID) -> None:
    """Let one import of a tenant run at a time: two that lock the same users in other orders would never end."""
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))


def count_differences(session: Session, tenant_id: uuid.UUID, batch: Sequence[Row]) -> ImportCounts:
    """What storing a batch would come to. Changes nothing."""
    return _compare(session, tenant_id, batch).counts


def store_profiles(session: Session, tenant_id: uuid.UUID, batch: Sequence[Row]) -> ImportCounts:
    """Create or update every profile of a batch, each user at most once in it; equal ones stay as they are."""
    counts = ImportCounts()
    while batch:
        _lock(session, tenant_id, batch)
        compared = _compare(session, tenant_id, batch)
        created = _insert_heads(session, tenant_id, compared.created)
        _update_heads(session, compared.updated)
        _write_versions(session, tenant_id, [*created, *compared.updated])
        counts += ImportCounts(len(created), len(compared.updated), compared.num_unchanged)
        # Whoever got a profile from another request in this moment is compared again.
        done = {version.profile.user_id for version in created}
        met = {profile.user_id for profile in compared.created} - done
        batch = [row for row in batch if row.user_id in met]
    return counts


def _lock(session: Session, tenant_id: uuid.UUID, batch: Sequence[Row]) -> None:
    users = [row.user_id for row in batch]
    heads = select(Profile.id).where(Profile.tenant_id == tenant_id, Profile.user_id.in_(users))
    session.execute(heads.order_by(Profile.user_id).with_for_update()).all()


def _compare(session: Session, tenant_id: uuid.UUID, batch: Sequence[Row]) -> _Comparison:
    stored = {
        user_id: (profile_id, version, body, stored_digest)
        for user_id, profile_id, version, body, stored_digest in session.execute(
            select(Profile.user_id, Profile.id, Profile.version, ProfileVersion.body, ProfileVersion.digest)
            .join(
                ProfileVersion, (ProfileVersion.profile_id == Profile.id) & (ProfileVersion.version == Profile.version)
            )
            .where(Profile.tenant_id == tenant_id, Profile.user_id.in_([row.user_id for row in batch]))
        )
    }
    forms = _forms(session, {profile_id: body["principles"] for profile_id, _, body, _ in stored.values()})
    created, updated = [], []
    for row in batch:
        if row.user_id not in stored:
            created.append(NewProfile(row.user_id, row.change(None)))
            continue
        profile_id, version, body, stored_digest = stored[row.user_id]
        changed = NewProfile(row.user_id, row.change(Said(body, forms.get(profile_id, ()))))
        if stored_digest != digest(changed.body):
            updated.append(_NewVersion(profile_id, version + 1, changed))
    return _Comparison(created, updated, num_unchanged=len(stored) - len(updated))


def _forms(session: Session, present: Mapping[uuid.UUID, object]) -> dict[uuid.UUID, list[object]]:
    """`Said.forms` of those profiles whose present principles were learnt."""
    fits = _fits(session, present)
    bases = {profile_id: of[-1].base for profile_id, of in fits.items() if of[-1].principles == present[profile_id]}
    if not bases:
        return {}
    stated = session.execute(
        select(ProfileVersion.profile_id, ProfileVersion.body).where(
            tuple_(ProfileVersion.profile_id, ProfileVersion.version).in_(list(bases.items()))
        )
    )
    return {
        profile_id: [
            body["principles"],
            *(fit.principles for fit in fits[profile_id] if fit.base == bases[profile_id]),
        ]
        for profile_id, body in stated
    }


def _fits(session: Session, present: Mapping[uuid.UUID, object]) -> dict[uuid.UUID, list[_Fit]]:
    """What was learnt for each of these profiles, the oldest first; profiles without are left out."""
    fits: defaultdict[uuid.UUID, list[_Fit]] = defaultdict(list)
    for profile_id, body, source in session.execute(
        select(ProfileVersion.profile_id, ProfileVersion.body, ProfileVersion.learned)
        .where(ProfileVersion.profile_id.in_(present), ProfileVersion.learned.is_not(None))
        .order_by(ProfileVersion.version)
    ):
        if source is not None:
            fits[profile_id].append(_Fit(body["principles"], source.get("base_version")))
    return fits


def _insert_heads(session: Session, tenant_id: uuid.UUID, created: Sequence[NewProfile]) -> list[_NewVersion]:
    """The first versions of the profiles that were really new."""
    if not created:
        return []
    moment = now(session)
    statement = insert_or_ignore(session, Profile).returning(Profile.user_id, Profile.id)
    heads = {"tenant_id": tenant_id, "version": 1, "created_at": moment, "updated_at": moment}
    rows = [{**heads, "id": new_id(), "user_id": profile.user_id} for profile in created]
    inserted = {row.user_id: row.id for row in session.execute(statement, rows)}
    return [_NewVersion(inserted[profile.user_id], 1, profile) for profile in created if profile.user_id in inserted]


def _update_heads(session: Session, updated: Sequence[_NewVersion]) -> None:
    if not updated:
        return
    moment = now(session)
    statement = (
        update(Profile)
        .where(Profile.id == bindparam("profile_id"))
        .values(version=bindparam("new_version"), updated_at=moment)
    )
    session.connection().execute(
        statement, [{"profile_id": new.profile_id, "new_version": new.version} for new in updated]
    )


def _write_versions(session: Session, tenant_id: uuid.UUID, versions: Sequence[_NewVersion]) -> None:
    if not versions:
        return
    moment = now(session)
    session.execute(
        insert(ProfileVersion),
        [
            {
                "profile_id": new.profile_id,
                "version": new.version,
                "body": new.profile.body,
                "digest": digest(new.profile.body),
                "created_at": moment,
            }
            for new in versions
        ],
    )
    session.execute(delete(ProfileTag).where(ProfileTag.profile_id.in_([new.profile_id for new in versions])))
    tags = [
        {"profile_id": new.profile_id, "tag": tag, "tenant_id": tenant_id}
        for new in versions
        for tag in tags_of(new.profile.body)
    ]
    if tags:
        session.execute(insert(ProfileTag), tags)
