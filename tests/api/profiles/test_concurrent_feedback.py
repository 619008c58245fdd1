"""Feedback of one user at the same moment: every pair once, one fit that waits, on both kinds of database."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from httpx2 import Response
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.settings import Settings
from db.models import FeedbackPair, Fit
from db.queries import fits
from db.queries.fits import ProfileChangedError
from db.session import Database
from domain.states import FitState
from tests.api.conftest import an_api
from tests.api.job_requests import give_profile
from tests.builders import DIGEST

PATH = "/v1/profiles/ada/feedback"
NUM_WRITERS = 8
PAIRS = [
    {"prompt": f"Write about tea {number}.", "chosen": "Shall we?", "rejected": "We shall."} for number in range(6)
]
TURNED = [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in PAIRS]


@pytest.fixture
def learner(settings: Settings, database: Database) -> TestClient:
    client = an_api(settings, database).client()
    give_profile(client, "ada", "formal", "playful", learn=True)
    return client


def at_once(client: TestClient, *bodies: object) -> list[Response]:
    """The answers to requests that all start at the same moment; None withdraws."""
    barrier = threading.Barrier(len(bodies))

    def act(body: object) -> Response:
        barrier.wait()
        return client.delete(PATH) if body is None else client.post(PATH, json=body)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(act, bodies))


def num_rows(database: Database, table: type[FeedbackPair | Fit]) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_pairs_that_many_send_are_stored_once_and_ask_for_one_fit(learner: TestClient, database: Database) -> None:
    answers = at_once(learner, *[{"pairs": PAIRS}] * NUM_WRITERS)

    assert {answer.status_code for answer in answers} == {202}
    assert sorted(answer.json()["num_new"] for answer in answers) == [0] * (NUM_WRITERS - 1) + [6]
    assert len({answer.json()["fit"]["id"] for answer in answers}) == 1
    assert (num_rows(database, FeedbackPair), num_rows(database, Fit)) == (6, 1)


def test_of_two_that_contradict_each_other_the_first_holds(learner: TestClient, database: Database) -> None:
    answers = at_once(learner, *[{"pairs": PAIRS}, {"pairs": TURNED}] * (NUM_WRITERS // 2))

    assert sorted(answer.status_code for answer in answers) == [202] * (NUM_WRITERS // 2) + [409] * (NUM_WRITERS // 2)
    accepted = {answer.request.content for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1
    assert num_rows(database, FeedbackPair) == 6


def test_what_is_given_withdrawn_and_learnt_at_once_ends_in_one_state(learner: TestClient, database: Database) -> None:
    """Whatever the order: a fit waits exactly where pairs do, none is left running, and nothing fails."""
    learner.post(PATH, json={"pairs": PAIRS})
    owner, stopping = uuid.uuid4(), threading.Event()

    def learn() -> None:
        number = 0
        while not stopping.is_set():
            with database.transaction() as session:
                fit = fits.claim(session, owner=owner, model_digest=DIGEST, lease_seconds=60)
            if fit is None:
                continue
            number += 1
            body = {**fit.profile.body, "strength": number / 1000}
            try:
                with database.transaction() as session:
                    fits.succeed(session, owner=owner, fit=fit, body=body, learned={"num_pairs": len(fit.pairs)})
            except ProfileChangedError:
                with database.transaction() as session:
                    fits.give_back(session, owner=owner, fit=fit, was_tried=True)

    with ThreadPoolExecutor(1) as pool:
        learning = pool.submit(learn)
        try:
            answers = [
                answer for _ in range(5) for answer in at_once(learner, *[{"pairs": PAIRS}, None] * (NUM_WRITERS // 2))
            ]
        finally:
            stopping.set()
        learning.result(30)

    assert {answer.status_code for answer in answers} == {202, 204}
    with database.reading() as session:
        states = list(session.scalars(select(Fit.state).order_by(Fit.id)))
    assert FitState.RUNNING not in states
    assert num_rows(database, FeedbackPair) in {0, 6}
    if not num_rows(database, FeedbackPair):
        assert FitState.QUEUED not in states
