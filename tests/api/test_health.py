"""Health: alive is not ready, and what is in the way is said in a sentence."""

import uuid

import pytest

from api.settings import Settings
from db.models import Worker
from db.queries import workers
from db.session import Database
from db.states import WorkerState
from tests.api.conftest import Api
from tests.builders import a_description, a_job


@pytest.fixture
def settings(sqlite_url: str, redis_url: str) -> Settings:
    return Settings(database_url=sqlite_url, redis_url=redis_url)


@pytest.fixture
def api(settings: Settings, sqlite_database: Database) -> Api:
    """Before any worker was started."""
    return Api(settings, sqlite_database)


def worker_says(api: Api, state: WorkerState, message: str | None = None) -> None:
    worker_id = uuid.uuid4()
    with api.database.transaction() as session:
        workers.register(session, worker_id=worker_id, model="tiny-model")
        session.flush()
        workers.report(session, worker_id=worker_id, state=state, message=message)


def test_a_process_is_alive_whatever_else_is_down(api: Api) -> None:
    api.settings = api.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    answer = api.anonymous_client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_everything_ready_is_200(api: Api) -> None:
    worker_says(api, WorkerState.READY)

    answer = api.anonymous_client().get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    assert {name: check["state"] for name, check in answer.json()["checks"].items()} == {
        "database": "ok",
        "redis": "ok",
        "worker": "ok",
    }


@pytest.mark.parametrize(
    ("state", "message", "reason"),
    [
        (WorkerState.LOADING, None, "The worker is loading the model."),
        (WorkerState.FAILED, "No such model: x.", "No such model: x."),
        (WorkerState.STOPPED, None, "No worker is running."),
    ],
)
def test_without_a_ready_worker_it_is_503_with_what_the_worker_says(
    api: Api, state: WorkerState, message: str | None, reason: str
) -> None:
    worker_says(api, state, message)

    answer = api.anonymous_client().get("/readyz")

    assert (answer.status_code, answer.json()["reason"]) == (503, reason)


def test_no_worker_at_all_is_said(api: Api) -> None:
    assert api.anonymous_client().get("/readyz").json()["reason"] == "No worker is running."


def test_redis_down_is_503(api: Api) -> None:
    worker_says(api, WorkerState.READY)
    api.settings = api.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    answer = api.anonymous_client().get("/readyz")

    assert (answer.status_code, answer.json()["reason"]) == (503, "Redis does not answer.")


def test_a_schema_that_is_not_current_is_503_and_says_what_to_do(api: Api) -> None:
    Worker.metadata.drop_all(api.database.engine)
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")

    answer = api.anonymous_client().get("/readyz")

    assert answer.status_code == 503
    assert "python -m db upgrade" in answer.json()["reason"]


def test_an_unreachable_database_is_503(api: Api) -> None:
    api.database = Database("postgresql://127.0.0.1:1/nothing")

    answer = api.anonymous_client().get("/readyz")

    assert (answer.status_code, answer.json()["reason"]) == (503, "The database does not answer.")


def test_a_model_that_jobs_wait_for_is_named_beside_one_that_is_served(api: Api) -> None:
    api.serve("first", a_description("a" * 64))
    a_job(api.database, model="first", model_digest="a" * 64)
    api.stop_workers()
    api.serve("second", a_description("b" * 64))

    answer = api.anonymous_client().get("/readyz").json()

    assert answer["ready"] is True
    assert answer["checks"]["worker"]["message"] == "A worker is ready. Jobs wait for `first@aaaaaaaa`."
    assert [(model["id"], model["state"]) for model in answer["models"]] == [("first", "gone"), ("second", "ready")]
