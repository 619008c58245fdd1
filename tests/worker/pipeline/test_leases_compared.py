"""What SQL says a worker holds, and what it has in hand: the heartbeat brings the two together, both ways."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.models import Item
from db.queries import claims, losses
from db.queries.cancelling import cancel
from db.session import Database, clock
from domain.attempts import Attempt, Outcome
from domain.states import ItemState, JobState
from tests.builders import DIGEST, a_job, items_of, job_state, preference, states_of
from tests.fake_decoder import load_echo
from worker.pipeline import decoding as decoding_module
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.supervision.supervisor import EngineSupervisor


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineSupervisor]:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30)
    supervisor.start()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def supervisor(engine: EngineSupervisor) -> Iterator[EngineSupervisor]:
    yield engine
    engine.cancel(engine.attempts)


class FaultyDatabase(Database):
    """Loses the answer of a commit when it is told to: the commit is done, and nobody hears of it."""

    lose_next_answer: Callable[[], bool] = staticmethod(lambda: False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
        if self.lose_next_answer():
            raise OperationalError("COMMIT", {}, ConnectionError("gone"))


def a_decoding(database: Database, supervisor: EngineSupervisor, *, lease: float = 3) -> Decoding:
    policy = DecodingPolicy(model_digest=DIGEST, lease_seconds=lease, time_slice_seconds=60, drain_seconds=20)
    return Decoding(database, supervisor, policy)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def taken_away(database: Database) -> int:
    """A sweep that finds every lease run out; returns how many items it queued."""
    with database.transaction() as session:
        session.execute(update(Item).where(Item.state == ItemState.RUNNING).values(lease_until=clock(-1)))
        return losses.expire(session)


def test_an_item_that_its_own_worker_claims_again_is_decoded(database: Database, supervisor: EngineSupervisor) -> None:
    # Few enough for the worker to claim at once what it still has inside, long before its next heartbeat.
    job_id = a_job(database, [preference("formal")] * 4, prompts=["endless", "slow", "slow", "slow"])
    thread = threading.Thread(target=a_decoding(database, supervisor, lease=3600).run)
    thread.start()

    num_taken = 0
    for _ in range(3):
        wait_until(lambda: ItemState.RUNNING in states_of(database, job_id) or not thread.is_alive())
        num_taken += taken_away(database)
    thread.join(60)

    ended = items_of(database, job_id)
    assert num_taken
    assert [(item.error_code, item.text) for item in ended] == [(None, "endless"), *[(None, "slow")] * 3]
    assert max(item.attempt for item in ended) > 1
    assert job_state(database, job_id) is JobState.COMPLETED


def test_a_new_attempt_replaces_the_stale_one_in_the_engine(database: Database, supervisor: EngineSupervisor) -> None:
    a_job(database, prompts=["slow"])
    owner = a_decoding(database, supervisor).owner

    attempts, outcomes = list[Attempt](), list[Outcome]()
    for _ in range(2):
        with database.transaction() as session:
            items = claims.claim(session, owner=owner, model_digest=DIGEST, limit=1, lease_seconds=60)
        supervisor.submit(items)
        attempts += [item.attempt_key for item in items]
        outcomes += supervisor.poll(0)
        taken_away(database)

    while supervisor.num_items:
        outcomes += supervisor.poll(0.1)
    assert [(outcome.key, outcome.text) for outcome in outcomes] == [(attempts[1], "slow")]


def test_a_claim_whose_answer_was_lost_is_given_back_within_a_heartbeat(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 4)
    faulty = FaultyDatabase(database.url.render_as_string(hide_password=False))
    lost = iter([True])
    faulty.lose_next_answer = lambda: ItemState.RUNNING in states_of(database, job_id) and next(lost, False)
    decoding = a_decoding(faulty, supervisor, lease=3600)

    decoding.run()

    assert [(item.state, item.attempt) for item in items_of(database, job_id)] == [(ItemState.SUCCEEDED, 1)] * 4
    assert next(lost, None) is None
    faulty.dispose()


def test_what_could_not_be_given_back_is_released_when_the_worker_runs_again(
    database: Database, supervisor: EngineSupervisor
) -> None:
    decoding = a_decoding(database, supervisor, lease=3600)
    job_id = a_job(database, [preference("formal")] * 4)
    with database.transaction() as session:
        claims.claim(session, owner=decoding.owner, model_digest=DIGEST, limit=4, lease_seconds=3600)

    decoding.run()

    assert [(item.state, item.attempt) for item in items_of(database, job_id)] == [(ItemState.SUCCEEDED, 1)] * 4


def test_what_is_no_longer_held_in_sql_is_taken_out_of_the_engine(
    database: Database, supervisor: EngineSupervisor
) -> None:
    # Decoding what is in hand to its end would take half a minute.
    job_id = a_job(database, [preference("formal")] * 16, prompts=["endless"] * 16)
    thread = threading.Thread(target=a_decoding(database, supervisor, lease=1.2).run)
    thread.start()
    wait_until(lambda: supervisor.num_items == 16)

    with database.transaction() as session:
        cancel(session, job_id)

    wait_until(lambda: not supervisor.num_items, seconds=15)
    thread.join(30)


def test_a_worker_that_starts_under_the_host_and_process_id_of_another_holds_nothing_of_it(
    database: Database, supervisor: EngineSupervisor
) -> None:
    # As in a container that was started again in its place: both are of this very process here.
    before, after = a_decoding(database, supervisor), a_decoding(database, supervisor)
    held, _ = a_job(database), a_job(database)
    with database.transaction() as session:
        claims.claim(session, owner=before.owner, model_digest=DIGEST, limit=1, lease_seconds=60)

    after.run()

    assert [(item.state, item.attempt) for item in items_of(database, held)] == [(ItemState.RUNNING, 1)]


def test_what_has_ended_and_is_not_saved_yet_is_in_hand(database: Database, supervisor: EngineSupervisor) -> None:
    job_id = a_job(database)
    decoding = a_decoding(database, supervisor)
    with database.transaction() as session:
        (item,) = claims.claim(session, owner=decoding.owner, model_digest=DIGEST, limit=1, lease_seconds=60)
    decoding._saving.add([Outcome(item.item_id, item.attempt, text="kept", finish_reason="stop")])  # noqa: SLF001

    decoding.run()

    assert [(ended.text, ended.attempt) for ended in items_of(database, job_id)] == [("kept", 1)]


def test_a_worker_that_cannot_give_back_is_no_longer_running(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_job(database, prompts=["endless"])
    decoding = a_decoding(database, supervisor)
    monkeypatch.setattr(supervisor, "poll", lambda _: (_ for _ in ()).throw(RuntimeError("the engine's pipe")))
    monkeypatch.setattr(claims, "release", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a fault")))

    with pytest.raises(RuntimeError):
        decoding.run()

    assert not decoding.is_running


def test_a_database_that_is_away_for_a_moment_is_waited_for_and_what_is_in_hand_stays_there(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_module, "RETRY_SECONDS", 0.0)
    job_id = a_job(database, [preference("formal")] * 4, prompts=["a", "b", "c", "d"])
    faulty = FaultyDatabase(database.url.render_as_string(hide_password=False))
    lost = iter([False, True, True] * 4)  # the claim's answer, the save's, a heartbeat's: whatever comes
    faulty.lose_next_answer = lambda: next(lost, False)

    assert a_decoding(faulty, supervisor).run() is False

    assert [(item.state, item.text) for item in items_of(database, job_id)] == [
        (ItemState.SUCCEEDED, text) for text in "abcd"
    ]
    assert job_state(database, job_id) is JobState.COMPLETED
    faulty.dispose()
