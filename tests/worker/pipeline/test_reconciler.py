"""What crashes and lost messages leave behind is put right."""

import datetime as dt
import threading
import uuid

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import InternalError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from db.idempotency_models import IdempotencyRecord
from db.models import Item, Job, Result
from db.openai_models import StoredFile
from db.queries import audit, cancelling, claims, deleting, feedback, files, fits, idempotency, losses, preferences
from db.queries.audit import leftovers, violations
from db.queries.idempotency import RequestKey
from db.session import Database, clock
from domain.states import ItemState, JobState
from tests.builders import DIGEST, MODEL, a_job, a_profile, a_tenant, job_state, preference, states_of
from worker.pipeline import reconciler
from worker.pipeline.reconciler import Reconciler

NUM_AT_ONCE = 4
YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


class Alarm:
    """Keeps how often the worker was woken."""

    def __init__(self) -> None:
        self.num_rings = 0

    def ring(self) -> None:
        self.num_rings += 1


def a_fit(database: Database) -> uuid.UUID:
    profile_id = a_profile(database, "formal", "playful")
    with database.transaction() as session:
        return feedback.request_fit(session, profile_id, model=MODEL, model_digest=DIGEST).fit_id


def a_reconciler(database: Database, alarm: Alarm | None = None, *, idle: bool = True) -> Reconciler:
    wake = (alarm or Alarm()).ring
    return Reconciler(database, model_digest=DIGEST, max_attempts=3, is_idle=lambda: idle, wake=wake)


def test_work_whose_message_was_lost_wakes_the_worker(database: Database) -> None:
    a_job(database)
    alarm = Alarm()

    a_reconciler(database, alarm).sweep()

    assert alarm.num_rings == 1


def test_a_fit_whose_message_was_lost_wakes_the_worker(database: Database) -> None:
    a_fit(database)
    alarm = Alarm()

    a_reconciler(database, alarm).sweep()

    assert alarm.num_rings == 1


def test_a_sweep_lists_few_jobs_and_removes_no_preference_before_all_are_listed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade all jobs are unlisted: leases and deadlines do not wait until they have been gone through."""
    monkeypatch.setattr(reconciler, "UNUSED_PREFERENCES_SECONDS", 0.0)
    monkeypatch.setattr(reconciler, "JOBS_LISTED_PER_SWEEP", 2)
    for _ in range(3):
        a_job(database)
    looks: list[int] = []

    def look(session: Session) -> dict[uuid.UUID, list[str]]:
        looks.append(len(preferences.unlisted_jobs(session)))
        return {}

    monkeypatch.setattr(preferences, "unused", look)
    sweeping = a_reconciler(database)

    sweeping.sweep()
    with database.reading() as session:
        assert len(preferences.unlisted_jobs(session)) == 1
    assert looks == []

    sweeping.sweep()
    assert looks == [0]


def test_the_fit_of_a_dead_worker_is_queued_again(database: Database) -> None:
    a_fit(database)
    with database.transaction() as session:
        fits.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, lease_seconds=-1)
    alarm = Alarm()

    a_reconciler(database, alarm).sweep()

    assert alarm.num_rings == 1


def test_a_busy_worker_is_not_woken(database: Database) -> None:
    a_job(database)
    alarm = Alarm()

    a_reconciler(database, alarm, idle=False).sweep()

    assert alarm.num_rings == 0


def test_the_items_of_a_dead_worker_are_queued_again(database: Database) -> None:
    job_id = a_job(database)
    with database.transaction() as session:
        claims.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, limit=1, lease_seconds=-1)

    a_reconciler(database).sweep()

    assert states_of(database, job_id) == [ItemState.QUEUED]


def test_counters_that_are_wrong_are_mended_and_a_job_that_is_over_is_completed(database: Database) -> None:
    # As a version of the code leaves them that keeps none.
    waiting, over = a_job(database), a_job(database)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == waiting).values(num_queued=0))
        item_id = session.scalars(
            update(Item)
            .where(Item.job_id == over)
            .values(state=ItemState.SUCCEEDED, attempt=1, finished_at=clock())
            .returning(Item.id)
        ).one()
        session.execute(insert(Result).values(item_id=item_id, text="text"))

    with capture_logs() as logs:
        a_reconciler(database).sweep()

    assert job_state(database, over) is JobState.COMPLETED
    assert {entry["job_id"] for entry in logs if entry["event"] == "counters_mended"} == {str(waiting), str(over)}
    with database.reading() as session:
        assert violations(session) == {}


def test_the_items_of_a_cancelled_job_follow_it(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * (cancelling.ITEMS_PER_BATCH + 1))
    with database.transaction() as session:
        cancelling.cancel(session, job_id)

    a_reconciler(database).sweep()

    assert set(states_of(database, job_id)) == {ItemState.CANCELLED}
    with database.reading() as session:
        assert cancelling.winding_up(session) == []
        assert violations(session) == {}


def test_a_sweep_in_which_one_part_fails_does_the_others(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    a_job(database)
    alarm = Alarm()
    monkeypatch.setattr(losses, "expire", lambda *_, **__: 1 / 0)

    a_reconciler(database, alarm).sweep()

    assert alarm.num_rings == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a fault"), InternalError("UPDATE", {}, Exception("read-only"))],
    ids=["fault", "passing fault"],
)
def test_whatever_a_sweep_meets_the_next_one_comes(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    a_job(database)
    alarm, stopping = Alarm(), threading.Event()
    expire, faults = losses.expire, iter([error, error])

    def expire_after_all(session: Session) -> int:
        if (fault := next(faults, None)) is not None:
            raise fault
        stopping.set()
        return expire(session)

    monkeypatch.setattr(losses, "expire", expire_after_all)
    a_reconciler(database, alarm).run(0.01, stopping)

    assert alarm.num_rings


def test_a_job_whose_deadline_has_passed_expires_and_its_items_follow(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 3, expires_at=clock(-1))

    with capture_logs() as logs:
        a_reconciler(database).sweep()

    assert job_state(database, job_id) is JobState.EXPIRED
    assert set(states_of(database, job_id)) == {ItemState.FAILED}
    assert [entry["job_id"] for entry in logs if entry["event"] == "job_expired"] == [str(job_id)]
    with database.reading() as session:
        assert violations(session) == {}


def test_the_rows_of_a_deleted_job_are_removed(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * (deleting.ITEMS_PER_BATCH + 1))
    with database.transaction() as session:
        cancelling.cancel(session, job_id)
        deleting.delete_job(session, job_id)

    a_reconciler(database).sweep()

    assert states_of(database, job_id) == []
    with database.reading() as session:
        assert session.get(Job, job_id) is None


def test_what_a_killed_server_leaves_of_requests_answered_at_once_is_removed(database: Database) -> None:
    long_ago = clock(-deleting.ABANDONED_SECONDS - 60)
    answered, unanswered = (a_job(database, is_announced=False, created_at=long_ago) for _ in range(2))
    waited_for = a_job(database, is_announced=False)
    somebodys = a_job(database, created_at=long_ago)
    with database.transaction() as session:
        cancelling.cancel(session, answered)

    a_reconciler(database).sweep()

    with database.reading() as session:
        assert [session.get(Job, job_id) for job_id in (answered, unanswered)] == [None, None]
        assert violations(session) == {}
    assert states_of(database, waited_for) == states_of(database, somebodys) == [ItemState.QUEUED]


def test_answers_and_files_whose_time_is_over_are_removed(database: Database) -> None:
    with database.transaction() as session:
        tenant_id = a_tenant(session)
        for name in ("of yesterday", "of today"):
            key = RequestKey(tenant_id, "POST /v1/jobs", name, request_digest="")
            assert idempotency.hold(session, key)
            file_id = files.begin(session, tenant_id=tenant_id, filename=name, purpose="batch")
            assert files.complete(session, file_id, num_bytes=0, seconds=3600)
        session.execute(
            update(IdempotencyRecord).where(IdempotencyRecord.key == "of yesterday").values(expires_at=YESTERDAY)
        )
        session.execute(update(StoredFile).where(StoredFile.filename == "of yesterday").values(expires_at=YESTERDAY))

    a_reconciler(database).sweep()

    with database.reading() as session:
        assert session.scalars(select(IdempotencyRecord.key)).all() == ["of today"]
        assert session.scalars(select(StoredFile.filename)).all() == ["of today"]


def test_sweep_after_sweep_every_open_job_is_audited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.pipeline.reconciler.AUDIT_SECONDS", 0)
    job_ids = [a_job(database, [preference("formal")] * 2) for _ in range(2 * audit.JOBS_PER_AUDIT)]
    with database.transaction() as session:  # so that nothing shows but in comparison with the items
        session.execute(update(Job).values(num_queued=1, num_succeeded=1))
    reconciler = a_reconciler(database)

    for _ in range(3):
        reconciler.sweep()

    with database.reading() as session:
        assert violations(session) == {}
        assert session.scalars(select(Job.num_queued)).all() == [2] * len(job_ids)


def test_nobody_is_woken_for_a_job_that_is_paused_or_not_to_begin_yet(database: Database) -> None:
    a_job(database, paused_at=clock())
    a_job(database, not_before=clock(3600))
    alarm = Alarm()

    a_reconciler(database, alarm).sweep()

    assert alarm.num_rings == 0


def test_sweeping_twice_changes_nothing_more(database: Database) -> None:
    job_id = a_job(database)
    reconciler = a_reconciler(database)

    reconciler.sweep()
    reconciler.sweep()

    assert states_of(database, job_id) == [ItemState.QUEUED]
    assert job_state(database, job_id) is JobState.QUEUED


def test_many_reconcilers_at_once_put_everything_right_once(database: Database) -> None:
    # As many workers as there are sweep, each on its own: what one puts right another finds in order.
    dead, overdue, gone, wrong = (a_job(database, [preference("formal")] * 60) for _ in range(4))
    with database.transaction() as session:
        claims.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, limit=60, lease_seconds=-1)
        session.execute(update(Job).where(Job.id == overdue).values(expires_at=clock(-1)))
        session.execute(update(Job).where(Job.id == wrong).values(num_queued=7))
        cancelling.cancel(session, gone)
        deleting.delete_job(session, gone)

    with capture_logs() as logs:
        threads = [threading.Thread(target=a_reconciler(database).sweep) for _ in range(NUM_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    said = [(entry["event"], entry.get("num_items"), entry.get("job_id")) for entry in logs]
    assert sorted(one for one in said if one[0] != "work_found") == sorted(
        [("leases_expired", 60, None), ("job_expired", None, str(overdue)), ("counters_mended", None, str(wrong))],
    )
    assert states_of(database, dead) == [ItemState.QUEUED] * 60
    assert (states_of(database, overdue), states_of(database, gone)) == ([ItemState.FAILED] * 60, [])
    with database.reading() as session:
        assert violations(session) | leftovers(session, seconds=0) == {}
