"""Fits as a queue: claimed under a lease, ended once, given back or expired. The same protocol as items (`claims`)."""

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session

from db.models import FeedbackPair, Fit, Profile
from db.queries.profiles import StoredProfile, find_profile, list_versions, update_profile
from db.session import now
from domain.json_values import JsonObject
from domain.pairs import PreferredPair
from domain.preferences import digest
from domain.states import FitState

MOST_PAIRS = 400
"""The newest that a fit reads: each costs a forward pass per principle, and old ones may be outgrown."""
MOST_VERSIONS = 1000
"""Versions of a profile that are looked through, at most, for the weights that a client wrote."""
LOST = "worker_lost"


class ProfileChangedError(Exception):
    """Somebody wrote the profile while a fit to its feedback was under way."""


@dataclass(frozen=True, slots=True)
class ClaimedFit:
    """A fit under lease: the profile as it is now, and its newest pairs."""

    fit_id: uuid.UUID
    attempt: int
    tenant_id: uuid.UUID
    profile: StoredProfile
    stated: StoredProfile
    """The newest version whose principles a client wrote: what was known of the user before the pairs."""
    pairs: tuple[PreferredPair, ...]


def claim(session: Session, *, owner: uuid.UUID, model_digest: str, lease_seconds: float) -> ClaimedFit | None:
    """Lease the oldest queued fit for this model, if there is one."""
    waiting = (
        select(Fit.id)
        .where(Fit.state == FitState.QUEUED, Fit.model_digest == model_digest)
        .order_by(Fit.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("waiting")
    )
    until = now(session) + dt.timedelta(seconds=lease_seconds)
    taken = session.execute(
        _update()
        .where(Fit.id.in_(select(waiting.c.id)), Fit.state == FitState.QUEUED)
        .values(state=FitState.RUNNING, lease_owner=owner, lease_until=until, attempt=Fit.attempt + 1)
        .returning(Fit.id, Fit.attempt, Fit.profile_id)
    ).one_or_none()
    if taken is None:
        return None
    tenant_id, user_id = session.execute(
        select(Profile.tenant_id, Profile.user_id).where(Profile.id == taken.profile_id)
    ).one()
    profile = find_profile(session, tenant_id, user_id)
    if profile is None:  # deleted since: its fits went with it
        return None
    stated = _stated(session, tenant_id, profile)
    return ClaimedFit(taken.id, taken.attempt, tenant_id, profile, stated, _pairs(session, taken.profile_id))


def _stated(session: Session, tenant_id: uuid.UUID, profile: StoredProfile) -> StoredProfile:
    """A change of a tag, say, carries weights on that a fit wrote: those are the pairs', not the client's."""
    versions = list_versions(session, tenant_id, profile.user_id, before=None, limit=MOST_VERSIONS)
    learned = [version.body["principles"] for version in versions if version.learned is not None]
    stated = (version for version in versions if version.learned is None and version.body["principles"] not in learned)
    return next(stated, versions[-1])


def _pairs(session: Session, profile_id: uuid.UUID) -> tuple[PreferredPair, ...]:
    rows = session.execute(
        select(FeedbackPair.messages, FeedbackPair.chosen, FeedbackPair.rejected)
        .where(FeedbackPair.profile_id == profile_id)
        .order_by(FeedbackPair.id.desc())
        .limit(MOST_PAIRS)
    )
    return tuple(PreferredPair(*row) for row in rows)


def extend(session: Session, *, owner: uuid.UUID, fit: ClaimedFit, lease_seconds: float) -> bool:
    """Extend the lease; False where it was taken away."""
    until = now(session) + dt.timedelta(seconds=lease_seconds)
    held = session.scalars(_held(owner, fit).values(lease_until=until).returning(Fit.id))
    return held.one_or_none() is not None


def succeed(session: Session, *, owner: uuid.UUID, fit: ClaimedFit, body: JsonObject, learned: JsonObject) -> bool:
    """Write the profile's next version, what it was learnt from beside it, and end the fit; equal bodies make none.

    False, and nothing happens, where the lease was lost. Raises ProfileChangedError where the profile is no longer as
    it was claimed: the caller's transaction ends with it.
    """
    # The profile before the fit, as whoever withdraws or deletes: nobody waits for another in a circle.
    profile = select(Profile.version).where(Profile.id == fit.profile.profile_id).with_for_update()
    present_version = session.scalars(profile).one_or_none()
    is_new = fit.profile.digest != digest(body)
    values = _ended(session, FitState.SUCCEEDED) | {"version": fit.profile.version + 1 if is_new else None}
    ended = session.scalars(_held(owner, fit).values(**values, num_pairs=learned["num_pairs"]).returning(Fit.id))
    if ended.one_or_none() is None:
        return False
    if present_version != fit.profile.version:
        raise ProfileChangedError
    if is_new:
        update_profile(session, fit.tenant_id, fit.profile, body, learned)
    return True


def fail(
    session: Session, *, owner: uuid.UUID, fit: ClaimedFit, code: str, message: str, num_pairs: int | None = None
) -> None:
    """End the fit without a new version; nothing happens where the lease was lost."""
    values = _ended(session, FitState.FAILED)
    session.execute(_held(owner, fit).values(**values, num_pairs=num_pairs, error_code=code, error_message=message))


def give_back(session: Session, *, owner: uuid.UUID, fit: ClaimedFit, was_tried: bool) -> None:
    """Queue it again; an attempt that was not made costs none."""
    attempt = Fit.attempt if was_tried else Fit.attempt - 1
    session.execute(
        _held(owner, fit).values(state=FitState.QUEUED, lease_owner=None, lease_until=None, attempt=attempt)
    )


def expire(session: Session, *, max_attempts: int) -> int:
    """Take back fits whose lease ran out: queued again, or failed after `max_attempts`. Returns how many."""
    overdue = _update().where(Fit.state == FitState.RUNNING, Fit.lease_until < now(session))
    failed = session.scalars(
        overdue.where(Fit.attempt >= max_attempts)
        .values(
            **_ended(session, FitState.FAILED),
            error_code=LOST,
            error_message=f"The worker was lost {max_attempts} times while it fitted this profile.",
        )
        .returning(Fit.id)
    ).all()
    again = session.scalars(
        overdue.where(Fit.attempt < max_attempts)
        .values(state=FitState.QUEUED, lease_owner=None, lease_until=None)
        .returning(Fit.id)
    ).all()
    return len(failed) + len(again)


def next_waiting(session: Session, *, model_digest: str) -> uuid.UUID | None:
    """The oldest queued fit for this model."""
    waiting = select(Fit.id).where(Fit.state == FitState.QUEUED, Fit.model_digest == model_digest)
    return session.scalars(waiting.order_by(Fit.id).limit(1)).one_or_none()


def _update() -> Update:
    return update(Fit).execution_options(synchronize_session=False)


def _held(owner: uuid.UUID, fit: ClaimedFit) -> Update:
    return _update().where(
        Fit.id == fit.fit_id,
        Fit.attempt == fit.attempt,
        Fit.lease_owner == owner,
        Fit.state == FitState.RUNNING,
    )


def _ended(session: Session, state: FitState) -> dict[str, object]:
    return {"state": state, "lease_owner": None, "lease_until": None, "finished_at": now(session)}
