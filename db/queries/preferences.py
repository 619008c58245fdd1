"""Removing preferences that no job has any more: they hold what people wrote, and go with the last of their jobs.

Items name their preference by its hash, and too many of them do for an index of their own. So the jobs of each
preference are listed beside them (`JobPreference`), some time after a job was stored, and here alone: a submission pays
nothing for it. A job's row takes its entries along.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session

from db.conflicts import insert_or_ignore
from db.models import Item, Job, JobPreference, Preference, Tenant

PREFERENCES_PER_BATCH = 1000

_UNSYNCHRONISED = {"synchronize_session": False}


def unlisted_jobs(session: Session, tenant_id: uuid.UUID | None = None, limit: int | None = None) -> list[uuid.UUID]:
    """The jobs, of all tenants or of one, whose preferences are not listed yet."""
    unlisted = select(Job.id).where(~exists().where(JobPreference.job_id == Job.id)).order_by(Job.id).limit(limit)
    return list(session.scalars(unlisted if tenant_id is None else unlisted.where(Job.tenant_id == tenant_id)))


def list_job(session: Session, job_id: uuid.UUID) -> None:
    """List a job's preferences, once. A job whose row is just being removed is passed over."""
    job = select(Job.tenant_id).where(Job.id == job_id, ~exists().where(JobPreference.job_id == job_id))
    tenant_id = session.scalars(job.with_for_update(read=True, key_share=True, skip_locked=True)).one_or_none()
    if tenant_id is None:
        return
    hashes = session.scalars(select(Item.preference_hash).where(Item.job_id == job_id).distinct()).all()
    rows = [{"job_id": job_id, "tenant_id": tenant_id, "preference_hash": each} for each in sorted(hashes)]
    if rows:
        session.connection().execute(insert_or_ignore(session, JobPreference), rows)  # another worker may list it, too


def unused(session: Session) -> dict[uuid.UUID, list[str]]:
    """Preferences, by tenant, that no listed job has: a batch of them."""
    found = select(Preference.tenant_id, Preference.hash).where(~_is_listed()).limit(PREFERENCES_PER_BATCH)
    hashes = defaultdict[uuid.UUID, list[str]](list)
    for tenant_id, hash_ in session.execute(found):
        hashes[tenant_id].append(hash_)
    return hashes


def remove_unused(session: Session, tenant_id: uuid.UUID, hashes: Sequence[str]) -> int:
    """Remove those of the preferences that no job of the tenant has, stored meanwhile or not; return how many.

    Who brings a preference that is new holds the tenant's row until it has committed, and who finds it there holds the
    preference itself (`db.queries.items.store_preferences`). So the order counts: with both of them held, every job
    that could still have one of these is there to be listed.
    """
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    named = select(Preference.hash).where(Preference.tenant_id == tenant_id, Preference.hash.in_(hashes))
    held = session.scalars(named.order_by(Preference.hash).with_for_update(skip_locked=True)).all()
    for job_id in unlisted_jobs(session, tenant_id):
        list_job(session, job_id)
    of_nobody = delete(Preference).where(Preference.tenant_id == tenant_id, Preference.hash.in_(held), ~_is_listed())
    return len(session.scalars(of_nobody.returning(Preference.hash), execution_options=_UNSYNCHRONISED).all())


def _is_listed() -> ColumnElement[bool]:
    return exists().where(
        JobPreference.tenant_id == Preference.tenant_id, JobPreference.preference_hash == Preference.hash
    )
