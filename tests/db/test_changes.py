"""Marks of what pages show, on both databases: there for what exists, and equal until something moves."""

import uuid

from sqlalchemy import update

from db.models import Job
from db.queries import changes, dashboard_sessions, keys, profiles, webhooks
from db.queries.changes import Deliveries, Learning, Load, OneJob, OpenJobs, Serving, Subject, Visit
from db.queries.events import record_test
from db.session import Database, now
from tests.builders import a_job, a_model, preference


def test_every_kind_of_subject_has_a_mark_that_stays_until_it_moves(database: Database) -> None:
    a_model(database)
    job_id = a_job(database, [preference("formal")] * 2)
    with database.transaction() as session:
        tenant_id = session.get_one(Job, job_id).tenant_id
        profiles.create_profile(session, tenant_id, "ada", {"principles": []})
        address = {"url": "https://a.example", "description": ""}
        hook = webhooks.create_webhook(session, tenant_id=tenant_id, event_types=["job.completed"], limit=9, **address)
        assert hook is not None
        record_test(session, hook[0])
        token = dashboard_sessions.begin(session, keys.create_key(session, tenant_id, "test", ["admin"])[0].id)
    there: set[Subject] = {OneJob(job_id), OpenJobs(tenant_id), Serving(), Load(), Deliveries(hook[0])}
    there |= {Learning(tenant_id, "ada"), Visit(token)}
    nowhere: set[Subject] = {OneJob(uuid.uuid4()), OpenJobs(uuid.uuid4()), Learning(tenant_id, "ben"), Visit("none")}

    def seen() -> dict[Subject, changes.Mark]:
        with database.reading() as session:
            return changes.marks_of(session, there | nowhere)

    first = seen()
    assert first.keys() == there
    assert seen() == first
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(paused_at=now(session)))
        record_test(session, hook[0])
    second = seen()
    moved = {each for each in there if first[each] != second[each]}
    assert moved == {OneJob(job_id), OpenJobs(tenant_id), Deliveries(hook[0])}
