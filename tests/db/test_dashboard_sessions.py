"""Sessions of the dashboard: how long one lasts, and that it lasts no longer than its key."""

import datetime as dt

import pytest
from sqlalchemy import func, select, update

from db.dashboard_models import DashboardSession
from db.models import ApiKey
from db.queries import dashboard_sessions, keys
from db.session import Database, now
from tests.builders import a_tenant


@pytest.fixture
def key(database: Database) -> ApiKey:
    with database.transaction() as session:
        return keys.create_key(session, a_tenant(session), "browser", ["admin"])[0]


def begun(database: Database, key: ApiKey) -> str:
    with database.transaction() as session:
        return dashboard_sessions.begin(session, key.id)


def is_signed_in(database: Database, token: str) -> bool:
    with database.reading() as session:
        return dashboard_sessions.find(session, token) is not None


def make_older(database: Database, column: str, seconds: float) -> None:
    with database.transaction() as session:
        moment = now(session) - dt.timedelta(seconds=seconds)
        session.execute(update(DashboardSession).values({column: moment}))


@pytest.mark.parametrize(
    ("column", "seconds", "stays"),
    [
        ("seen_at", dashboard_sessions.IDLE_SECONDS - 60, True),
        ("seen_at", dashboard_sessions.IDLE_SECONDS + 60, False),
        ("expires_at", 1, False),
    ],
)
def test_a_session_ends_when_it_is_idle_or_old_and_the_next_removes_it(
    database: Database, key: ApiKey, column: str, seconds: float, *, stays: bool
) -> None:
    token = begun(database, key)

    make_older(database, column, seconds)

    assert is_signed_in(database, token) is stays
    begun(database, key)
    with database.reading() as session:
        assert session.scalars(select(func.count()).select_from(DashboardSession)).one() == 1 + stays


def test_it_is_noted_at_most_once_a_minute_that_a_session_was_seen(database: Database, key: ApiKey) -> None:
    token = begun(database, key)
    with database.transaction() as session:
        found = dashboard_sessions.find(session, token)
        assert found is not None
        assert not found.must_be_noted

    make_older(database, "seen_at", dashboard_sessions.SEEN_SECONDS + 1)

    with database.transaction() as session:
        before = dashboard_sessions.find(session, token)
        dashboard_sessions.note_seen(session, token)
        after = dashboard_sessions.find(session, token)
    assert before is not None
    assert after is not None
    assert (before.must_be_noted, after.must_be_noted) == (True, False)


def test_a_session_ends_with_its_key_and_by_its_token_alone(database: Database, key: ApiKey) -> None:
    first, second = begun(database, key), begun(database, key)

    with database.transaction() as session:
        dashboard_sessions.end(session, first)
    assert (is_signed_in(database, first), is_signed_in(database, second)) == (False, True)

    with database.transaction() as session:
        keys.revoke_key(session, key.id)
    assert not is_signed_in(database, second)
