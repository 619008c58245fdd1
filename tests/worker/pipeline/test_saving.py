"""Outcomes are written beside the worker's loop, and until that is done they are in hand."""

import threading
import uuid
from unittest.mock import patch

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError

from db.models import Result
from db.queries import claims
from db.session import Database
from domain.attempts import Outcome
from tests.builders import DIGEST, a_job, items_of, preference
from worker.pipeline.saving import Saving

OWNER = uuid.UUID(int=7)


@pytest.fixture
def held(database: Database) -> list[Outcome]:
    """The outcomes of three items that OWNER holds."""
    a_job(database, [preference("formal")] * 3)
    with database.transaction() as session:
        items = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=3, lease_seconds=60)
    return [Outcome(item.item_id, item.attempt, text="text", finish_reason="stop") for item in items]


def num_results(database: Database) -> int:
    with database.reading() as session:
        return len(session.connection().exec_driver_sql("SELECT 1 FROM results").all())


def test_while_a_write_is_under_way_its_outcomes_are_in_hand_and_others_are_taken(
    database: Database, held: list[Outcome]
) -> None:
    saving, may_go_on = Saving(database, OWNER), threading.Event()
    save = claims.save

    def save_when_told(*given: object, **named: object) -> object:
        may_go_on.wait(30)
        return save(*given, **named)  # type: ignore[arg-type] # as it was called

    with patch.object(claims, "save", save_when_told):
        saving.add(held[:2])
        saving.begin()
        saving.add(held[2:])
        saving.begin()

        assert saving.attempts == {outcome.key for outcome in held}

        may_go_on.set()
        saving.hear(None)

        assert saving.attempts == {held[2].key}
        saving.finish()

    assert saving.is_idle
    assert num_results(database) == 3


def test_what_a_write_met_is_raised_and_nothing_of_it_is_lost(database: Database, held: list[Outcome]) -> None:
    saving = Saving(database, OWNER)
    saving.add(held)

    with patch.object(claims, "save", side_effect=OperationalError("away", None, Exception())):
        saving.begin()
        with pytest.raises(OperationalError):
            saving.hear(None)

    assert saving.attempts == {outcome.key for outcome in held}
    saving.finish()
    assert saving.is_idle
    assert num_results(database) == 3


def test_an_outcome_that_the_database_cannot_hold_fails_alone(postgresql_database: Database) -> None:
    job_id = a_job(postgresql_database, [preference("formal")] * 2)
    with postgresql_database.transaction() as session:
        held = claims.claim(session, owner=OWNER, model_digest=DIGEST, limit=2, lease_seconds=60)
    saving = Saving(postgresql_database, OWNER)

    saving.add([Outcome(held[0].item_id, 1, text="a\0b"), Outcome(held[1].item_id, 1, text="kept")])
    saving.finish()

    assert [(item.text, item.error_code) for item in items_of(postgresql_database, job_id)] == [
        (None, "result_refused"),
        ("kept", None),
    ]


def test_a_fault_that_passes_fails_nobody_whose_outcome_is_tried_alone(database: Database, held: list[Outcome]) -> None:
    saving = Saving(database, OWNER)
    saving.add(held)
    refused, away = DataError("too large", None, Exception()), OperationalError("away", None, Exception())

    with patch.object(claims, "save", side_effect=[refused, away]):
        saving.begin()
        with pytest.raises(OperationalError):
            saving.hear(None)
    saving.finish()

    with database.reading() as session:
        assert session.scalars(select(Result.text)).all() == ["text"] * 3
