"""How fast a worker writes is measured while its engine had enough to do, and told with its presence."""

import uuid
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from db.queries import estimates, workers
from db.registry_models import Model, Worker
from db.session import Database
from domain.attempts import Outcome
from domain.states import WorkerState
from tests.builders import DIGEST, MODEL, a_model
from worker.pipeline.throughput import Throughput


@dataclass
class Clock:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


def outcomes(number: int, tokens: int) -> list[Outcome]:
    return [Outcome(n, 1, text="x", finish_reason="stop", num_completion_tokens=tokens) for n in range(number)]


def a_run(throughput: Throughput, clock: Clock, *, held: int, seconds: float, tokens: int, num_slots: int = 4) -> None:
    """So many items are taken in, and end together."""
    throughput.observe(num_slots=num_slots, num_held=held, outcomes=())
    clock.seconds += seconds
    throughput.observe(num_slots=num_slots, num_held=0, outcomes=outcomes(held, tokens))
    clock.seconds += 1000  # idle


def test_it_is_the_tokens_of_all_answers_over_the_busy_time() -> None:
    clock = Clock()
    throughput = Throughput(clock)

    assert throughput.tokens_per_second is None
    a_run(throughput, clock, held=8, seconds=2.0, tokens=50)

    assert throughput.tokens_per_second == pytest.approx(8 * 50 / 2.0)


def test_a_full_engine_outweighs_whatever_a_half_empty_one_did() -> None:
    clock = Clock()
    throughput = Throughput(clock)

    a_run(throughput, clock, held=1, seconds=1.0, tokens=10)
    a_run(throughput, clock, held=2, seconds=1.0, tokens=10)
    partly = throughput.tokens_per_second
    a_run(throughput, clock, held=4, seconds=2.0, tokens=10)
    a_run(throughput, clock, held=1, seconds=0.5, tokens=500)

    assert partly == pytest.approx(20.0)
    assert throughput.tokens_per_second == pytest.approx(20.0)


def test_what_was_measured_lately_weighs_more() -> None:
    clock = Clock()
    throughput = Throughput(clock)

    for tokens in (10, *[20] * 12):
        a_run(throughput, clock, held=4, seconds=1.0, tokens=tokens)

    assert throughput.tokens_per_second == pytest.approx(80.0, rel=0.01)


def test_a_busy_time_that_goes_on_is_counted_meanwhile() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    throughput.observe(num_slots=2, num_held=4, outcomes=())

    for _ in range(8):
        clock.seconds += 1.0
        throughput.observe(num_slots=2, num_held=4, outcomes=outcomes(1, 30))

    assert throughput.tokens_per_second == pytest.approx(30.0)


def test_moments_and_answers_without_tokens_say_nothing() -> None:
    clock = Clock()
    throughput = Throughput(clock)

    a_run(throughput, clock, held=8, seconds=0.001, tokens=50)
    a_run(throughput, clock, held=8, seconds=5.0, tokens=0)

    assert throughput.tokens_per_second is None


def report(database: Database, worker_id: uuid.UUID, rate: float | None) -> None:
    with database.transaction() as session:
        workers.report(session, worker_id=worker_id, state=WorkerState.READY, tokens_per_second=rate)


def test_a_worker_tells_its_speed_and_its_model_keeps_it_when_it_is_gone(database: Database) -> None:
    worker_id = a_model(database)

    report(database, worker_id, None)
    report(database, worker_id, 120.0)
    with database.reading() as session:
        told = (
            session.scalars(select(Worker.tokens_per_second)).one(),
            session.scalars(select(Model.tokens_per_second)).one(),
        )
    again = a_model(database)
    report(database, again, None)

    assert told == (120.0, 120.0)
    with database.transaction() as session:
        workers.report(session, worker_id=worker_id, state=WorkerState.STOPPED)
    with database.reading() as session:
        assert estimates.speed(session, model=MODEL, model_digest=DIGEST) == estimates.Speed(1, 120.0)
