"""A preference holds what people wrote: it goes when no job has it any more, and never before."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import JobPreference, Preference, Tenant
from db.queries import cancelling, deleting, preferences
from db.queries.audit import violations
from db.queries.items import NewItem, insert_items, store_preferences
from db.queries.jobs import insert_job
from db.session import Database
from domain.preferences import EffectivePreference
from tests.builders import DIGEST, MODEL, a_job, preference, wind_up
from tests.db.test_overlaps import in_a_transaction, one_behind_the_other

OWN, SHARED, NEW = preference("call me Dan"), preference("formal"), preference("new")


def sweep(database: Database) -> int:
    """What a worker does now and then; how many preferences it removed."""
    for job_id in in_a_transaction(database, preferences.unlisted_jobs):
        with database.transaction() as session:
            preferences.list_job(session, job_id)
    return remove(database, in_a_transaction(database, preferences.unused))


def remove(database: Database, unused: dict[uuid.UUID, list[str]]) -> int:
    with database.transaction() as session:
        return sum(preferences.remove_unused(session, *of_tenant) for of_tenant in unused.items())


def an_ended_job(database: Database, *given: EffectivePreference, tenant: str = "default") -> uuid.UUID:
    job_id = a_job(database, given, tenant=tenant)
    in_a_transaction(database, lambda session: cancelling.cancel(session, job_id))
    wind_up(database, job_id)
    return job_id


def delete(database: Database, job_id: uuid.UUID) -> None:
    with database.transaction() as session:
        assert deleting.delete_job(session, job_id)
        assert not deleting.remove(session, job_id)


def stored(database: Database) -> list[tuple[str, str]]:
    """The preferences that are there, each with its tenant's name."""
    with database.reading() as session:
        rows = session.execute(select(Tenant.name, Preference.hash).join(Preference)).all()
        return sorted((tenant, hash_) for tenant, hash_ in rows)


def submit(session: Session, *given: EffectivePreference) -> None:
    """Store a job, in this transaction."""
    tenant_id = session.scalars(select(Tenant.id)).one()
    job_id = insert_job(
        session, tenant_id=tenant_id, model=MODEL, model_digest=DIGEST, metadata={}, num_items=len(given)
    )
    items = [NewItem(place, f"{place}", "dan", 1, each.hash, "[]", "{}") for place, each in enumerate(given)]
    insert_items(session, job_id=job_id, model=MODEL, model_digest=DIGEST, items=items)
    store_preferences(session, tenant_id=tenant_id, bodies={each.hash: each.body for each in given})


@contextmanager
def an_unused_preference(database: Database) -> Iterator[dict[uuid.UUID, list[str]]]:
    """OWN, of which a sweep has just found that no job has it; in the end no item lacks its preference."""
    delete(database, an_ended_job(database, OWN))
    yield in_a_transaction(database, preferences.unused)
    with database.reading() as session:
        assert violations(session) == {}


def test_a_preference_goes_with_the_last_job_that_has_it(database: Database) -> None:
    first, second = an_ended_job(database, OWN, SHARED), an_ended_job(database, OWN, OWN)
    other = an_ended_job(database, OWN, tenant="other")

    sweep(database)
    delete(database, first)
    sweep(database)

    assert stored(database) == [("default", OWN.hash), ("other", OWN.hash)]
    delete(database, second)
    assert sweep(database) == 1
    assert stored(database) == [("other", OWN.hash)]
    delete(database, other)
    assert sweep(database) == 1
    with database.reading() as session:
        assert session.scalars(select(func.count()).select_from(JobPreference)).one() == 0


def test_jobs_that_no_sweep_has_seen_yet_keep_their_preferences(database: Database) -> None:
    with an_unused_preference(database) as unused:
        an_ended_job(database, OWN)

        assert remove(database, unused) == 0

    assert stored(database) == [("default", OWN.hash)]


def test_a_job_is_listed_once_however_many_workers_do(database: Database) -> None:
    job_id = an_ended_job(database, OWN, SHARED, OWN)

    for _ in range(2):
        in_a_transaction(database, lambda session: preferences.list_job(session, job_id))

    with database.reading() as session:
        listed = session.scalars(select(JobPreference.preference_hash)).all()
    assert sorted(listed) == sorted([OWN.hash, SHARED.hash])
    assert in_a_transaction(database, preferences.unlisted_jobs) == []


def test_a_preference_that_a_job_has_found_and_not_committed_is_left_alone(postgresql_database: Database) -> None:
    with an_unused_preference(postgresql_database) as unused:
        with postgresql_database.transaction() as session:
            submit(session, OWN)

            assert remove(postgresql_database, unused) == 0

        assert sweep(postgresql_database) == 0


def test_a_sweep_waits_for_a_job_that_brings_something_new_beside_what_it_found(postgresql_database: Database) -> None:
    database = postgresql_database
    with an_unused_preference(database) as unused:
        ((tenant_id, hashes),) = unused.items()

        def sweep_one(session: Session) -> int:
            return preferences.remove_unused(session, tenant_id, hashes)

        with one_behind_the_other(database, lambda session: submit(session, OWN, NEW), sweep_one) as (_, num_removed):
            assert num_removed == 0

    assert stored(database) == sorted([("default", OWN.hash), ("default", NEW.hash)])


def test_a_job_that_comes_while_its_preference_is_removed_stores_it_anew(postgresql_database: Database) -> None:
    database = postgresql_database
    with an_unused_preference(database) as unused:
        ((tenant_id, hashes),) = unused.items()

        def sweep_one(session: Session) -> int:
            return preferences.remove_unused(session, tenant_id, hashes)

        with one_behind_the_other(database, sweep_one, lambda session: submit(session, OWN)) as (num_removed, _):
            assert num_removed == 1

    assert stored(database) == [("default", OWN.hash)]
