"""A result keeps what guidance cost, every answer where several were asked for, and which stop text ended it."""

import uuid

from db.queries.claims import claim, save
from db.queries.results import read_results
from db.session import Database
from domain.attempts import Outcome
from tests.builders import DIGEST, a_job, preference

CHOICES = tuple(
    {"text": text, "finish_reason": "stop", "num_completion_tokens": 3, "reward": 0.5, "kl": 0.25} for text in "ab"
)


def test_kl_choices_and_the_stop_text_are_read_as_they_were_saved(database: Database) -> None:
    job_id = a_job(database, [preference("formal")] * 2)
    owner = uuid.uuid4()
    with database.transaction() as session:
        first, second = claim(session, owner=owner, model_digest=DIGEST, limit=2, lease_seconds=30)
        outcomes = [
            Outcome(first.item_id, 1, text="a", finish_reason="stop", kl=0.25, choices=CHOICES, stop_text="END"),
            Outcome(second.item_id, 1, text="c", finish_reason="stop"),
        ]
        save(session, owner=owner, outcomes=outcomes)

    with database.reading() as session:
        rows = read_results(session, job_id=job_id, positions=range(2))

    assert [(row.kl, row.choices, row.stop_text) for row in rows] == [(0.25, list(CHOICES), "END"), (None, None, None)]
