"""Workers whose machines disagree about the time: on PostgreSQL only the database's clock counts."""

import datetime as dt
import re
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

import db.session
from db.models import Item, Job
from db.queries import claims, deadlines, jobs, losses
from db.session import Database
from tests.builders import DIGEST, MODEL, a_job, a_tenant

ROOT = Path(__file__).parents[2]
SKEW_SECONDS = 3600
LEASE_SECONDS = 60
WINDOW_SECONDS = 600


@pytest.fixture
def ahead(postgresql_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The same database, to a machine whose clock is an hour ahead."""
    clock = time.time

    class Ahead(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Ahead":
            return cls.fromtimestamp(clock() + SKEW_SECONDS, tz)

    monkeypatch.setattr(time, "time", lambda: clock() + SKEW_SECONDS)
    given = SimpleNamespace(**vars(dt))
    given.datetime = Ahead
    monkeypatch.setattr(db.session, "dt", given)
    return Database(postgresql_database.url.render_as_string(hide_password=False))


def test_a_worker_whose_clock_is_ahead_takes_no_lease_away_and_keeps_none_for_longer(
    postgresql_database: Database, ahead: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_job(postgresql_database)
    with ahead.transaction() as session:
        assert len(claims.claim(session, owner=uuid.uuid4(), model_digest=DIGEST, limit=1, lease_seconds=60)) == 1
        assert losses.expire(session) == 0

    monkeypatch.undo()  # a machine whose clock is right
    with postgresql_database.transaction() as session:
        left = session.scalars(select(func.extract("epoch", Item.lease_until - func.clock_timestamp()))).one()
        assert losses.expire(session) == 0

    assert LEASE_SECONDS - 30 < left <= LEASE_SECONDS
    ahead.dispose()


def test_a_deadline_is_where_the_database_says_whoever_submits_and_whoever_looks(
    postgresql_database: Database, ahead: Database
) -> None:
    schedule = jobs.Schedule(window_seconds=WINDOW_SECONDS)
    with ahead.transaction() as session:
        tenant_id = a_tenant(session)
        given = {"tenant_id": tenant_id, "model": MODEL, "model_digest": DIGEST, "metadata": {}, "num_items": 1}
        job_id = jobs.insert_job(session, **given, schedule=schedule)  # type: ignore[arg-type] # fields by name
        assert deadlines.overdue(session) == []
        assert not deadlines.enforce(session, job_id)

    with postgresql_database.reading() as session:
        left = session.scalars(select(func.extract("epoch", Job.expires_at - func.clock_timestamp()))).one()
    assert WINDOW_SECONDS - 30 < left <= WINDOW_SECONDS
    ahead.dispose()


def test_nothing_but_the_session_asks_the_machine_what_time_it_is() -> None:
    """For SQLite it is the database's clock: such a file has one machine."""
    asks = re.compile(r"\b(datetime\.(now|utcnow|today)|time\.time(_ns)?)\(")
    modules = [path for folder in ("db", "worker") for path in (ROOT / folder).rglob("*.py")]

    found = {str(path.relative_to(ROOT)) for path in modules if asks.search(path.read_text())}

    assert found <= {"db/session.py", "db/__main__.py"}, "the latter dates the keys that a person makes"
