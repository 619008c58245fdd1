"""Health: alive is not ready, and what is in the way is said in a sentence."""

import asyncio
import shutil
import threading
import uuid
from types import SimpleNamespace

import pytest

from api.readiness import FRESH_SECONDS, Check, CheckState, Readiness, ReadinessChecks, Round
from api.settings import Settings
from db.queries import workers
from db.registry_models import Worker
from db.session import Database
from domain.states import WorkerState
from telemetry.metrics import REDIS_FAULTS
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


def num_redis_faults() -> float:
    return next(iter(REDIS_FAULTS.collect())).samples[0].value


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


def test_redis_down_is_503_and_counted_for_the_alert(api: Api) -> None:
    worker_says(api, WorkerState.READY)
    api.settings = api.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    before = num_redis_faults()

    answer = api.anonymous_client().get("/readyz")

    assert (answer.status_code, answer.json()["reason"]) == (503, "Redis does not answer.")
    assert num_redis_faults() == before + 1


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


def test_a_database_that_takes_no_writes_is_503_and_the_log_says_why(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worker_says(api, WorkerState.READY)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))

    answer = api.anonymous_client().get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["reason"] == "The database cannot be written to: the disk is full."
    assert "the disk is full" in capsys.readouterr().out


def test_a_write_that_a_read_only_database_refuses_is_503(api: Api) -> None:
    client = api.client()
    api.serve()
    read_only = Database(f"sqlite:///file:{api.database.url.database}?mode=ro&uri=true")
    api.database = read_only
    headers = dict(client.headers)

    answer = api.anonymous_client(headers).put("/v1/profiles/ada", json={})

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    read_only.dispose()


def test_a_schema_from_a_later_version_is_ready(api: Api) -> None:
    worker_says(api, WorkerState.READY)
    with api.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    assert api.anonymous_client().get("/readyz").json()["ready"] is True


class CountedRound(Round):
    """Checks nothing; hangs while the test says so."""

    def __init__(self, goes_on: threading.Event, rounds: list[Round]) -> None:
        self.checks = {"database": Check(state=CheckState.OK, message="")}
        self.models = []
        self._goes_on = goes_on
        rounds.append(self)

    def run(self) -> None:
        assert self._goes_on.wait(30)
        self.checks["redis"] = self.checks["worker"] = Check(state=CheckState.OK, message="")


def test_however_many_ask_at_once_one_round_is_run_and_its_answer_kept_for_a_moment() -> None:
    rounds: list[Round] = []
    goes_on = threading.Event()
    goes_on.set()
    moment = 0.0
    checks = ReadinessChecks(lambda: CountedRound(goes_on, rounds), clock=lambda: moment)
    rounds.clear()

    async def ask_at_once() -> list[Readiness]:
        return await asyncio.gather(*(checks.current() for _ in range(50)))

    assert all(answer.ready for answer in asyncio.run(ask_at_once()))
    assert len(rounds) == 1
    moment = FRESH_SECONDS
    asyncio.run(ask_at_once())
    assert len(rounds) == 2


def test_a_check_that_hangs_keeps_nobody_waiting_and_no_second_thread() -> None:
    rounds: list[Round] = []
    goes_on = threading.Event()
    checks = ReadinessChecks(lambda: CountedRound(goes_on, rounds), patience_seconds=0.01)
    rounds.clear()

    answers = [asyncio.run(checks.current()) for _ in range(3)]
    goes_on.set()

    assert [answer.reason for answer in answers] == ["Redis does not answer."] * 3
    assert len(rounds) == 1


def test_checks_that_could_not_be_made_are_no_readiness() -> None:
    goes_on = threading.Event()
    goes_on.set()

    class BrokenRound(CountedRound):
        def run(self) -> None:
            """As where something nobody thought of was raised, and logged by the thread that it ended."""

    checks = ReadinessChecks(lambda: BrokenRound(goes_on, []))

    assert asyncio.run(checks.current()).reason == "The checks could not be made."
