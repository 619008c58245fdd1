"""A job tells at any moment where each of its items stands, how fast it goes and, if nothing runs, why."""

import datetime as dt
import threading
import uuid
from itertools import combinations_with_replacement

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import event
from starlette.testclient import TestClient

from api.settings import Settings
from db.base import new_id
from db.models import Job
from db.queries import counters, workers
from db.session import Database, now
from domain.states import ItemState, WorkerState
from tests.api.conftest import MODEL, Api, RecordingQueue, an_api
from tests.api.job_requests import Json, accepted, an_item, end_item, give_profile, items_of_job, set_running, submit


@pytest.fixture
def api(settings: Settings, database: Database) -> Api:
    return an_api(settings, database)


@pytest.fixture
def client(api: Api) -> TestClient:
    client = api.client()
    give_profile(client)
    return client


def a_job(client: TestClient, num_items: int = 1) -> uuid.UUID:
    return accepted(submit(client, *[an_item(f"item-{number}") for number in range(num_items)]))


def read(client: TestClient, job_id: uuid.UUID) -> Json:
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200
    return dict(answer.json())


def a_worker(api: Api, state: WorkerState, message: str | None = None) -> None:
    worker_id = new_id()
    with api.database.transaction() as session:
        workers.register(session, worker_id=worker_id, model=MODEL)
        session.flush()
        workers.report(session, worker_id=worker_id, state=state, message=message)


@pytest.mark.parametrize("num_states", range(1, 4))
def test_the_five_counters_add_up_in_every_mix_of_states(api: Api, client: TestClient, num_states: int) -> None:
    for states in combinations_with_replacement(ItemState, num_states):
        job_id = a_job(client, num_states)
        for position, state in enumerate(states):
            if state is ItemState.RUNNING:
                set_running(api.database, job_id, position)
            elif state is not ItemState.QUEUED:
                end_item(api.database, job_id, position, state)

        counts = read(client, job_id)["counts"]

        assert counts == {**{state.value: states.count(state) for state in ItemState}, "total": num_states}


def test_a_job_whose_items_have_ended_has_ended(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 3)
    for position, state in enumerate([ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SUCCEEDED]):
        end_item(api.database, job_id, position, state)

    job = read(client, job_id)

    assert (job["state"], job["finished_at"] is not None) == ("completed", True)
    assert job["counts"] == {"queued": 0, "running": 0, "succeeded": 2, "failed": 1, "cancelled": 0, "total": 3}
    assert (job["rate"], job["eta_seconds"], job["waiting_reason"]) == (None, None, None)


def test_the_rate_is_taken_over_the_last_seconds_and_gives_the_time_left(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 20)
    for num_items, seconds in ((4, 16), (4, 20), (3, 5)):
        end_next(api, job_id, num_items)
        let_pass(api, job_id, seconds)

    job = read(client, job_id)

    # What ended since the mark before the last: all but the first four.
    assert job["rate"] == pytest.approx(7 / 25, rel=0.05)
    assert job["eta_seconds"] == pytest.approx(9 / (7 / 25), abs=2)


def test_a_job_that_stands_still_loses_its_rate_and_begins_a_new_one(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 20)
    end_next(api, job_id, 10)
    let_pass(api, job_id, counters.RATE_STALE_SECONDS)
    stale = read(client, job_id)["rate"]
    end_next(api, job_id, 2)
    let_pass(api, job_id, 4)

    least, rate, most = seconds_of_rate(api, job_id), read(client, job_id)["rate"], seconds_of_rate(api, job_id)

    assert stale is None
    assert 4 <= least <= most < counters.RATE_STALE_SECONDS  # however long this test takes, the rate is of its own time
    assert 2 / most - 0.001 <= rate <= 2 / least + 0.001


def seconds_of_rate(api: Api, job_id: uuid.UUID) -> float:
    """For how long now the rate of a job is taken."""
    with api.database.reading() as session:
        since = session.get_one(Job, job_id).rate_since
        assert since is not None
        return (now(session) - since).total_seconds()


def end_next(api: Api, job_id: uuid.UUID, num_items: int) -> None:
    num_ended = sum(item.finished_at is not None for item in items_of_job(api.database, job_id))
    for position in range(num_ended, num_ended + num_items):
        end_item(api.database, job_id, position)


def let_pass(api: Api, job_id: uuid.UUID, seconds: float) -> None:
    """As if everything that the job did had been so much earlier."""
    earlier = dt.timedelta(seconds=seconds)
    with api.database.transaction() as session:
        job = session.get_one(Job, job_id)
        job.started_at = job.started_at and job.started_at - earlier
        job.rate_since = job.rate_since and job.rate_since - earlier
        job.rate_mark = job.rate_mark and job.rate_mark - earlier


def test_a_job_that_finished_nothing_lately_has_no_rate(client: TestClient) -> None:
    job = read(client, a_job(client))

    assert (job["rate"], job["eta_seconds"]) == (None, None)


@pytest.mark.parametrize(
    ("state", "message", "reason"),
    [
        (None, None, workers.NO_WORKER),
        (WorkerState.LOADING, None, workers.LOADING),
        (
            WorkerState.FAILED,
            "The worker could not start: no such model.",
            "The worker could not start: no such model.",
        ),
        (WorkerState.READY, None, "Waiting for a worker to take its first items."),
    ],
)
def test_a_job_that_waits_says_why(
    api: Api, client: TestClient, state: WorkerState | None, message: str | None, reason: str
) -> None:
    if state is not WorkerState.READY:
        api.stop_workers()
    if state not in {None, WorkerState.READY}:
        a_worker(api, state, message)

    assert read(client, a_job(client))["waiting_reason"] == reason


def test_a_job_behind_others_says_how_many_items_are_before_it(api: Api, client: TestClient) -> None:
    a_worker(api, WorkerState.READY)
    a_job(client, 3)
    a_job(client, 2)
    last = a_job(client)

    assert read(client, last)["waiting_reason"] == "Behind 5 items of your jobs that go first."


def test_other_tenants_items_are_said_to_be_there_and_not_counted(api: Api, client: TestClient) -> None:
    a_worker(api, WorkerState.READY)
    rival = api.client(tenant="rival")
    give_profile(rival)
    a_job(rival, 5)

    assert read(client, a_job(client))["waiting_reason"] == (
        "Waiting for its turn: the workers have other tenants' items as well."
    )


def test_a_job_that_runs_does_not_wait(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 2)
    set_running(api.database, job_id, 0)

    assert read(client, job_id)["waiting_reason"] is None


def test_a_poll_is_answered_with_304_until_the_job_moves_on(api: Api, client: TestClient) -> None:
    job_id = a_job(client, 2)
    first = client.get(f"/v1/jobs/{job_id}")
    known = {"If-None-Match": first.headers["etag"]}

    unmoved = client.get(f"/v1/jobs/{job_id}", headers=known)
    end_item(api.database, job_id, 0)
    moved = client.get(f"/v1/jobs/{job_id}", headers=known)

    assert (unmoved.status_code, unmoved.content) == (304, b"")
    assert (moved.status_code, moved.headers["etag"] != first.headers["etag"]) == (200, True)
    assert int(unmoved.headers["retry-after"]) >= 1


def test_a_finished_job_need_not_be_polled_again(client: TestClient) -> None:
    job_id = a_job(client)
    client.post(f"/v1/jobs/{job_id}/cancel")

    assert "retry-after" not in client.get(f"/v1/jobs/{job_id}").headers


def test_jobs_are_listed_newest_first_in_pages(client: TestClient) -> None:
    newest_first = [str(a_job(client)) for _ in range(5)][::-1]

    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 2, **after}).json()
        pages.append([job["id"] for job in page["data"]])
        assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}

    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


def test_a_listed_job_is_the_job(client: TestClient) -> None:
    job_id = a_job(client, 3)

    (listed,) = client.get("/v1/jobs").json()["data"]

    assert listed == read(client, job_id)


def test_a_list_of_a_hundred_jobs_takes_three_statements(api: Api, client: TestClient) -> None:
    for _ in range(5):
        a_job(client, 2)
    set_running(api.database, a_job(client, 2), 0)
    statements: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(api.database.engine, "before_cursor_execute", record)
    listed = client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    event.remove(api.database.engine, "before_cursor_execute", record)

    assert len(listed) == 6
    assert len([statement for statement in statements if not statement.startswith("BEGIN")]) <= 3


def test_jobs_are_listed_by_state(client: TestClient) -> None:
    cancelled, queued = a_job(client), a_job(client)
    client.post(f"/v1/jobs/{cancelled}/cancel")

    def listed(state: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params={"state": state}).json()["data"]]

    assert (listed("queued"), listed("cancelled"), listed("running")) == ([str(queued)], [str(cancelled)], [])


def test_a_list_of_nothing_is_empty(client: TestClient) -> None:
    assert client.get("/v1/jobs").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "101"}, {"after": "x"}, {"state": "lost"}], ids=str)
def test_a_wrong_parameter_is_refused(client: TestClient, params: dict[str, str]) -> None:
    assert client.get("/v1/jobs", params=params).status_code == 422


def test_while_redis_takes_nothing_an_idle_worker_is_not_said_to_be_about_to_begin(api: Api) -> None:
    tried = threading.Event()

    class DeadQueue(RecordingQueue):
        def send_task(self, name: str, *, args: list[str], queue: str, expires: float, retry: bool) -> None:
            super().send_task(name, args=args, queue=queue, expires=expires, retry=retry)
            if tried.is_set():  # the second time: the first has failed
                done.set()
            tried.set()
            raise OperationalError

    done = threading.Event()
    api.queue = DeadQueue()
    client = api.client()
    give_profile(client)
    job_id = a_job(client)
    assert done.wait(30)

    reason = read(client, job_id)["waiting_reason"]

    assert reason == "Redis does not answer: no idle worker can be woken until it does."
    for publisher in api.queue.publishers:
        publisher.close(0)
