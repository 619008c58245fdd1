"""An engine that dies with nothing to do: the next job finds another, and until then none is said to be ready."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.queries.audit import leftovers, violations
from db.queries.keys import create_key, create_tenant
from db.session import Database
from domain.states import ItemState
from tests.builders import a_job, items_of, preference, states_of
from tests.system.processes import ECHO_WORKER, KEY, Stack, a_forking_stack, engine_of, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    yield database
    database.dispose()


@pytest.fixture
def stack(database: Database, tmp_path: Path) -> Iterator[Stack]:
    url = database.engine.url.render_as_string(hide_password=False)
    with a_forking_stack(tmp_path, url, model="tiny", home=tmp_path) as stack:
        stack.start_redis()
        stack.start_api()
        yield stack


def why_not_ready(stack: Stack) -> str | None:
    with stack.client as client:
        reason: str | None = client.get("/readyz").json()["reason"]
    return reason


def test_an_idle_worker_begins_another_engine_and_says_that_it_loads_meanwhile(
    stack: Stack, database: Database, tmp_path: Path
) -> None:
    worker = stack.start("worker", [sys.executable, str(ECHO_WORKER), "again"])
    wait_until(stack.is_ready, 120, "a model is served")
    first = engine_of(worker)
    assert first is not None

    first.kill()
    wait_until(lambda: why_not_ready(stack) == "The worker is loading the model.", 60, "it is said")
    with stack.client as client:
        served = client.get("/v1/models").raise_for_status().json()["data"]
    job_id = a_job(database, [preference("formal")] * 3, prompts=["a", "b", "c"])
    (tmp_path / "may").touch()
    wait_until(stack.is_ready, 60, "another engine has loaded the model")
    wait_until(lambda: set(states_of(database, job_id)) == {ItemState.SUCCEEDED}, 60, "the job is done")

    assert [model["state"] for model in served] == ["loading"]
    assert worker.poll() is None
    assert [(item.text, item.attempt) for item in items_of(database, job_id)] == [("a", 1), ("b", 1), ("c", 1)]
    with database.reading() as session:
        assert violations(session) | leftovers(session, seconds=10) == {}
