"""Real processes that are killed, or stumble, at each named fault point: nothing is lost, doubled or left behind."""

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from db.models import Item, Job, Result
from db.queries.audit import leftovers, violations
from db.queries.keys import create_key, create_tenant
from db.session import Database
from domain.fault_points import FaultPoint
from domain.states import ItemState
from tests.builders import a_job, a_model, items_of, preference, states_of
from tests.chaos.history import broken_rules, said_in, unfinished, unsaid
from tests.chaos.journal import keep_journal, read_journal
from tests.system.processes import ECHO_WORKER, KEY, Process, Stack, a_forking_stack, wait_until

NUM_ITEMS = 20
SETTINGS = {"model": "tiny", "lease_seconds": 2, "reconcile_seconds": 0.2, "log_level": "debug"}

pytestmark = pytest.mark.timeout(300)


class Town:
    """A database with a journal, a Redis, and programs that are started with a fault."""

    def __init__(self, stack: Stack, database: Database) -> None:
        self.stack = stack
        self.database = database
        self.num_starts = 0

    def start_worker(self, fault: str = "") -> Process:
        self.num_starts += 1
        command = [sys.executable, str(ECHO_WORKER)]
        return self.stack.start(f"worker-{self.num_starts}", command, {"PADSERVE_FAULT": fault})

    def start_api(self, fault: str = "") -> Process:
        api = self.stack.start("api", [sys.executable, "-m", "api"], {"PADSERVE_FAULT": fault})
        wait_until(self.stack.api_answers, 120, "the API answers")
        return api

    def submit(self) -> uuid.UUID:
        prompts = [f"thing {position}" for position in range(NUM_ITEMS)]
        return a_job(self.database, [preference("formal")] * NUM_ITEMS, prompts=prompts)

    def count(self, state: ItemState) -> int:
        return self._count(select(func.count()).select_from(Item).where(Item.state == state))

    def num_results(self) -> int:
        return self._count(select(func.count()).select_from(Result))

    def num_ended_jobs(self) -> int:
        return self._count(select(func.count()).select_from(Job).where(Job.finished_at.is_not(None)))

    def is_done(self, job_id: uuid.UUID) -> bool:
        return set(states_of(self.database, job_id)) == {ItemState.SUCCEEDED}

    def _count(self, statement: object) -> int:
        with self.database.reading() as session:
            return int(session.scalars(statement).one())  # type: ignore[call-overload] # one number

    def check_everything(self, job_ids: list[uuid.UUID]) -> None:
        """Each item has its own text, and rows, journal and logs agree that nobody did what was not his to do."""
        for job_id in job_ids:
            texts = [item.text for item in items_of(self.database, job_id)]
            assert texts == [f"thing {position}" for position in range(NUM_ITEMS)]
        logs = self.stack.folder.glob("worker-*.log")
        with self.database.reading() as session:
            assert violations(session) | leftovers(session, seconds=10) == {}
            committed, strange = read_journal(session)
        assert strange + broken_rules(committed) + unsaid(committed, said_in(logs)) == []
        assert unfinished(committed) == set()


@pytest.fixture(params=["sqlite", "postgresql"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    database = Database(url)
    keep_journal(database)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    with a_forking_stack(tmp_path, url, **SETTINGS) as stack:
        stack.start_redis()
        yield Town(stack, database)
    database.dispose()


LEAVES: dict[FaultPoint, Callable[[Town, int, int], bool]] = {
    FaultPoint.AFTER_CLAIM: lambda town, results, _: (
        town.num_results() == results and bool(town.count(ItemState.RUNNING))
    ),
    FaultPoint.BEFORE_SAVE: lambda town, results, _: town.num_results() == results,
    FaultPoint.AFTER_SAVE: lambda town, results, _: town.num_results() > results,
    FaultPoint.BEFORE_FINALISE: lambda town, _, ended: town.num_ended_jobs() == ended,
    FaultPoint.AFTER_FINALISE: lambda town, _, ended: town.num_ended_jobs() > ended,
}
"""What the database says when a worker was killed there: given how many results and ended jobs there were before.

One save may end two jobs: the one that was submitted last, and one that a worker before had not finished.
"""


def test_workers_that_are_killed_at_each_point_lose_and_double_nothing(town: Town) -> None:
    job_ids = []
    for point, leaves in LEAVES.items():
        job_ids.append(town.submit())
        num_results, num_ended = town.num_results(), town.num_ended_jobs()

        killed = town.start_worker(f"{point}:kill")

        assert killed.wait(120) == -signal.SIGKILL
        assert leaves(town, num_results, num_ended), point

    town.start_worker()
    wait_until(lambda: all(town.is_done(job_id) for job_id in job_ids), 120, "the next worker has done the rest")
    town.check_everything(job_ids)


def test_a_worker_that_stumbles_at_each_point_goes_on(town: Town) -> None:
    worker = town.start_worker(",".join(f"{point}:raise@2" for point in LEAVES))

    job_ids = []
    for _ in range(6):
        job_ids.append(town.submit())
        wait_until(lambda: town.is_done(job_ids[-1]), 120, "it decodes")

    assert worker.poll() is None
    # Two may strike in one turn: what gives back what is in hand saves, too.
    assert town.stack.log("worker-1").count('"error": "InjectedFaultError"') >= len(LEAVES) // 2
    town.check_everything(job_ids)


@pytest.mark.parametrize("fault", ["mid_decode:kill@12", "mid_decode:raise@12", "after_tell:kill@2"])
def test_an_engine_that_ends_in_the_middle_again_and_again_costs_no_item(town: Town, fault: str) -> None:
    worker = town.start_worker(fault)
    job_id = town.submit()

    wait_until(lambda: town.is_done(job_id), 120, "it decodes")

    assert worker.poll() is None
    assert "engine_lost" in town.stack.log("worker-1")
    town.check_everything([job_id])


@pytest.mark.parametrize("act", ["kill", "raise"])
def test_an_api_that_ends_between_commit_and_message_has_stored_the_job_once(town: Town, act: str) -> None:
    a_model(town.database)
    api = town.start_api(f"after_commit_before_publish:{act}@1")
    items = [{"custom_id": f"i-{place}", "user_id": "ada", "prompt": f"thing {place}"} for place in range(NUM_ITEMS)]
    body, profile = {"items": items}, {"principles": [{"text": "formal"}], "method": "contrast", "strength": 1.0}
    key = {"Idempotency-Key": "the same job"}

    with town.stack.client as client:
        client.put("/v1/profiles/ada", json=profile).raise_for_status()
        if act == "kill":
            with pytest.raises(httpx.TransportError):
                client.post("/v1/jobs", json=body, headers=key)
            assert api.wait(60) == -signal.SIGKILL
            town.start_api()
        else:
            assert client.post("/v1/jobs", json=body, headers=key).status_code == httpx.codes.INTERNAL_SERVER_ERROR
        job = client.post("/v1/jobs", json=body, headers=key).raise_for_status().json()

    town.start_worker()
    job_id = uuid.UUID(job["id"])
    wait_until(lambda: town.is_done(job_id), 120, "a worker has found it without being told")
    assert town.count(ItemState.SUCCEEDED) == NUM_ITEMS
    town.check_everything([job_id])
