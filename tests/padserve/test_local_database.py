"""What `padserve up` does to its database before the API starts, and what a worker's health check reads in it."""

from pathlib import Path

import pytest

from db.base import new_id
from db.queries import keys, workers
from db.session import Database
from domain.states import WorkerState
from padserve import PadserveError, worker_health
from padserve.stack.database import prepare


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new.db'}"


def test_a_new_database_is_migrated_and_gets_a_key_that_is_kept(url: str) -> None:
    made = prepare(url, None)

    assert prepare(url, made) == made
    database = Database(url)
    with database.reading() as session:
        assert [key.name for key in keys.list_keys(session)] == ["padserve up"]
        assert keys.caller_of(session, made) is not None
    database.dispose()


def test_a_chosen_key_is_stored(url: str) -> None:
    assert prepare(url, "my-own-key") == "my-own-key"


def test_a_key_that_was_revoked_is_not_revived(url: str) -> None:
    made = prepare(url, None)
    database = Database(url)
    with database.transaction() as session:
        keys.revoke_key(session, keys.list_keys(session)[0].id)
    database.dispose()

    with pytest.raises(PadserveError, match="was revoked"):
        prepare(url, made)


def test_a_database_that_takes_no_writes_is_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///file:{tmp_path / 'read-only.db'}?mode=ro&uri=true"
    Database(f"sqlite:///{tmp_path / 'read-only.db'}").check()

    with pytest.raises(
        PadserveError, match=r"^The database cannot be made ready: attempt to write a readonly database\.$"
    ):
        prepare(url, None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nonsense", "PADSERVE_DATABASE_URL is not the URL"),
        ("oracle+nothing://host/x", "PADSERVE_DATABASE_URL is not the URL"),
        ("postgresql://padserve:secret@127.0.0.1:1/padserve", "Cannot reach the database at .*127.0.0.1:1"),
    ],
    ids=["no URL", "another database", "nobody there"],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(wrong: str, message: str) -> None:
    with pytest.raises(PadserveError, match=message) as caught:
        prepare(wrong, None)

    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "exit_code"),
    [
        (WorkerState.READY, 0),
        (WorkerState.LOADING, 0),
        (WorkerState.FAILED, 1),
        (WorkerState.STOPPED, 1),
        (None, 1),
    ],
)
def test_a_worker_is_healthy_while_it_is_ready_or_loads(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch, state: WorkerState | None, exit_code: int
) -> None:
    if state is not None:
        worker_id = new_id()
        with sqlite_database.transaction() as session:
            workers.register(session, worker_id=worker_id, model="tiny")
            workers.report(session, worker_id=worker_id, state=state)
    monkeypatch.setenv("PADSERVE_DATABASE_URL", str(sqlite_database.url))

    assert worker_health.main() == exit_code
