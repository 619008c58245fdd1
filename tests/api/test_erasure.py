"""What docs/how-to/gdpr.md says of erasing a person, taken at its word: nothing in any table names them afterwards."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from starlette.testclient import TestClient

from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, end_item, give_profile, submit
from tests.builders import DIGEST
from worker.pipeline import reconciler
from worker.pipeline.reconciler import Reconciler

NAME = "Quaxolotl"
"""In whatever can be said of a person, so that it is found wherever something was forgotten."""


def tables_that_hold(connection: Connection, name: str) -> set[str]:
    """The tables with a row in which the name stands, in whichever column."""
    tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
    rows = {table: connection.execute(text(f"SELECT * FROM {table}")).all() for table in tables}  # noqa: S608 - names
    return {table for table, found in rows.items() if any(name in str(value) for row in found for value in row)}


def tell_all(client: TestClient, api: Api) -> None:
    """A profile with all it may hold, what was learnt of it, and a job that was written for it."""
    give_profile(
        client,
        NAME,
        f"like a letter to {NAME}",
        "formal",
        examples=[f"Yours, {NAME}"],
        attributes={"first_name": NAME},
        tags=[NAME],
        metadata={"known_as": NAME},
        learn=True,
    )
    pair = {"prompt": f"For {NAME}.", "chosen": f"Dear {NAME}", "rejected": f"Hi {NAME}"}
    assert client.post(f"/v1/profiles/{NAME}/feedback", json={"pairs": [pair]}).status_code == 202
    items = [an_item(NAME, NAME, prompt=f"To {NAME}."), an_item("own", NAME, principles=[f"for {NAME} alone"])]
    job_id = accepted(submit(client, *items, name=NAME, metadata={"about": NAME}))
    for position in range(len(items)):
        end_item(api.database, job_id, position, text=f"Dear {NAME}")


def test_nothing_of_a_person_is_left_when_profile_and_jobs_are_deleted(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_all(client, api)
    with api.database.engine.connect() as connection:
        before = tables_that_hold(connection, NAME)

    assert client.delete(f"/v1/profiles/{NAME}").status_code == 204
    for job in client.get("/v1/jobs").json()["data"]:
        client.post(f"/v1/jobs/{job['id']}/cancel")
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    monkeypatch.setattr(reconciler, "UNUSED_PREFERENCES_SECONDS", 0.0)
    swept = {"model_digest": DIGEST, "max_attempts": 3, "is_idle": lambda: False, "wake": lambda: None}
    Reconciler(api.database, **swept).sweep()  # type: ignore[arg-type] # fields by name

    assert before >= {"profiles", "profile_versions", "feedback_pairs", "jobs", "items", "results", "preferences"}
    with api.database.engine.connect() as connection:
        assert tables_that_hold(connection, NAME) == set()
