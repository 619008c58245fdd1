"""The worker's main path on real databases and a real engine process, with a fake decoder in it."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from db.models import Item, Result
from db.queries import claims, feedback, fits, losses
from db.queries.cancelling import cancel
from db.session import Database
from domain.attempts import Attempt
from domain.states import ItemState, JobState
from tests.builders import DIGEST, MODEL, a_job, a_profile, items_of, job_state, preference, states_of, wind_up
from tests.fake_decoder import load_echo
from worker.pipeline import decoding as main_path
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.pipeline.saving import Saving
from worker.supervision.supervisor import EngineSupervisor


@pytest.fixture
def supervisor(forked_engines: None) -> Iterator[EngineSupervisor]:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30)
    supervisor.start()
    yield supervisor
    supervisor.stop()


def a_decoding(
    database: Database, supervisor: EngineSupervisor, *, lease: float = 1.2, time_slice: float = 60, drain: float = 20
) -> Decoding:
    policy = DecodingPolicy(
        model_digest=DIGEST, lease_seconds=lease, time_slice_seconds=time_slice, drain_seconds=drain
    )
    return Decoding(database, supervisor, policy)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def num_results(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Result)).one()


def test_every_item_of_every_job_ends_with_its_own_result(database: Database, supervisor: EngineSupervisor) -> None:
    groups = [preference("formal"), preference("playful"), preference("concise")]
    first = a_job(database, groups * 20)
    second = a_job(database, groups[:2], prompts=["fail", "refuse"])

    work_is_left = a_decoding(database, supervisor).run()

    assert not work_is_left
    assert [item.text for item in items_of(database, first)] == [f"prompt {position}" for position in range(60)]
    assert [item.error_code for item in items_of(database, second)] == ["non_finite_logits", "prompt_too_long"]
    assert job_state(database, first) is job_state(database, second) is JobState.COMPLETED


def test_a_job_cancelled_while_it_is_decoded_keeps_what_was_finished(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 60, prompts=["slow"] * 60)
    decoding = a_decoding(database, supervisor)
    thread = threading.Thread(target=decoding.run)
    thread.start()
    wait_until(lambda: num_results(database) >= 5)

    with database.transaction() as session:
        cancel(session, job_id)
    thread.join(timeout=30)
    wind_up(database, job_id)

    states = states_of(database, job_id)
    assert not thread.is_alive()
    assert set(states) == {ItemState.SUCCEEDED, ItemState.CANCELLED}
    assert num_results(database) == 60
    assert job_state(database, job_id) is JobState.CANCELLED


def test_a_worker_that_is_stopped_finishes_what_it_holds_and_leaves_the_rest_queued(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 60, prompts=["slow"] * 60)
    decoding = a_decoding(database, supervisor)
    thread = threading.Thread(target=decoding.run)
    thread.start()
    wait_until(lambda: num_results(database) >= 1)

    decoding.stopping.set()
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert set(states_of(database, job_id)) == {ItemState.SUCCEEDED, ItemState.QUEUED}


def test_a_worker_without_time_to_drain_gives_its_items_back_untried(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 30, prompts=["slow"] * 30)
    decoding = a_decoding(database, supervisor, drain=0)
    thread = threading.Thread(target=decoding.run)
    thread.start()
    wait_until(lambda: num_results(database) >= 1)

    decoding.stopping.set()
    thread.join(timeout=30)

    left = [item for item in items_of(database, job_id) if item.state is not ItemState.SUCCEEDED]
    assert left
    assert {(item.state, item.attempt) for item in left} == {(ItemState.QUEUED, 0)}


def test_leases_are_extended_while_items_wait_for_the_engine(database: Database, supervisor: EngineSupervisor) -> None:
    # The first takes two seconds, longer than the lease: without heartbeats all of them would be taken back.
    job_id = a_job(database, [preference("formal")] * 5, prompts=["endless", *["slow"] * 4])
    decoding = a_decoding(database, supervisor, lease=1.2)
    thread = threading.Thread(target=decoding.run)
    thread.start()

    num_taken_back = 0
    while thread.is_alive():
        with database.transaction() as session:
            num_taken_back += losses.expire(session)
        thread.join(timeout=0.1)

    assert num_taken_back == 0
    assert {item.attempt for item in items_of(database, job_id)} == {1}


def test_a_poisoned_item_fails_and_its_batch_is_decoded(database: Database, supervisor: EngineSupervisor) -> None:
    prompts = [f"prompt {number}" for number in range(12)]
    prompts[7] = "kill"
    job_id = a_job(database, [preference("formal")] * 12, prompts=prompts)

    a_decoding(database, supervisor, lease=30).run()

    ended = items_of(database, job_id)
    assert ended[7].error_code == "poisoned"
    assert [item.text for item in ended if item.position != 7] == [text for text in prompts if text != "kill"]


def test_deaths_of_the_engine_are_recorded_for_what_was_being_decoded(
    database: Database, supervisor: EngineSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[uuid.UUID, Attempt]] = []

    def record(_: Session, *, owner: uuid.UUID, attempts: Iterable[Attempt]) -> set[Attempt]:
        recorded.extend((owner, attempt) for attempt in attempts)
        return set()

    monkeypatch.setattr(losses, "record_deaths", record)
    job_id = a_job(database, [preference("formal")] * 2, prompts=[f"once:{tmp_path / 'killed'} kill", "b"])
    decoding = a_decoding(database, supervisor, lease=30)

    decoding.run()

    assert {item.state for item in items_of(database, job_id)} == {ItemState.SUCCEEDED}
    assert {(owner, attempt.number) for owner, attempt in recorded} == {(decoding.owner, 1)}
    assert len(recorded) == 2


def test_an_item_that_has_seen_enough_deaths_is_not_tried_again(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, prompts=["kill"])
    with database.transaction() as session:
        session.execute(update(Item).values(num_deaths=losses.MAX_DEATHS - 1))

    with capture_logs() as said:
        a_decoding(database, supervisor, lease=30).run()

    (item,) = items_of(database, job_id)
    assert item.error_code == losses.WORKER_LOST
    assert [line["event"] for line in said].count("engine_lost") == 1


def test_what_is_finished_is_saved_at_once_where_nothing_is_left_to_decode(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_path, "SAVE_SECONDS", 3600)
    decoding = a_decoding(database, supervisor)

    for _ in range(2):
        job_id = a_job(database, [preference("formal")] * 2)
        decoding.run()  # would never end if it waited
        assert states_of(database, job_id) == [ItemState.SUCCEEDED] * 2


def test_what_a_worker_was_saving_when_it_was_told_to_end_is_saved_although_that_failed(
    database: Database, supervisor: EngineSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = a_job(database)
    decoding = a_decoding(database, supervisor, drain=0)
    save, faults = claims.save, iter([OperationalError("away", None, Exception())])
    hear, is_awaited = Saving.hear, threading.Event()

    def hear_and_say_so(saving: Saving, seconds: float | None) -> None:
        if seconds is None:
            is_awaited.set()
        hear(saving, seconds)

    def save_at_the_second_time(*given: Any, **named: Any) -> set[uuid.UUID]:  # noqa: ANN401 - as it is called
        if (fault := next(faults, None)) is None:
            return save(*given, **named)
        decoding.stopping.set()
        assert is_awaited.wait(30)
        raise fault

    monkeypatch.setattr(claims, "save", save_at_the_second_time)
    monkeypatch.setattr(Saving, "hear", hear_and_say_so)
    decoding.run()

    assert states_of(database, job_id) == [ItemState.SUCCEEDED]


def test_a_result_that_the_database_cannot_hold_fails_its_own_item_alone(
    postgresql_database: Database, supervisor: EngineSupervisor
) -> None:
    # PostgreSQL stores no NUL. Such a result once failed its whole batch, was given back, and came again for ever.
    job_id = a_job(postgresql_database, [preference("formal")] * 3, prompts=["a", "b\0", "c"])

    a_decoding(postgresql_database, supervisor).run()

    assert [item.text for item in items_of(postgresql_database, job_id)] == ["a", None, "c"]
    assert items_of(postgresql_database, job_id)[1].error_code == "result_refused"


def a_fit_that_waits(database: Database) -> None:
    profile_id = a_profile(database, "formal", "playful")
    with database.transaction() as session:
        feedback.request_fit(session, profile_id, model=MODEL, model_digest=DIGEST)


def test_a_slice_ends_for_a_fit_that_waits_and_says_that_work_is_left(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 60, prompts=["slow"] * 60)
    a_fit_that_waits(database)

    work_is_left = a_decoding(database, supervisor, time_slice=0.5).run()

    assert work_is_left
    assert set(states_of(database, job_id)) == {ItemState.SUCCEEDED, ItemState.QUEUED}


def test_a_slice_that_is_over_goes_on_while_nothing_else_waits(
    database: Database, supervisor: EngineSupervisor
) -> None:
    job_id = a_job(database, [preference("formal")] * 60, prompts=["slow"] * 60)

    with patch.object(fits, "next_waiting", wraps=fits.next_waiting) as asked:
        work_is_left = a_decoding(database, supervisor, lease=30, time_slice=0.2, drain=0).run()

    assert not work_is_left
    assert asked.call_count < 10, "it looks now and then, not at each step"
    assert [(item.state, item.attempt) for item in items_of(database, job_id)] == [(ItemState.SUCCEEDED, 1)] * 60


@pytest.mark.parametrize("a_fit_waits", [False, True])
def test_an_item_that_takes_longer_than_a_slice_and_its_drain_ends_at_its_first_attempt(
    database: Database, supervisor: EngineSupervisor, *, a_fit_waits: bool
) -> None:
    job_id = a_job(database, prompts=["endless"])
    if a_fit_waits:
        a_fit_that_waits(database)

    a_decoding(database, supervisor, time_slice=0.3, drain=0.3).run()

    (item,) = items_of(database, job_id)
    assert (item.state, item.attempt, item.text) == (ItemState.SUCCEEDED, 1, "endless")
