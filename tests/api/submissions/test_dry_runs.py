"""A dry run is judged as the real submission is and leaves nothing; what it estimates is measured, or null and why."""

import json

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from db.models import Result
from db.registry_models import Model, Worker
from tests.api.conftest import Api
from tests.api.job_requests import (
    NDJSON_HEADERS,
    NOTHING,
    Json,
    accepted,
    an_item,
    end_item,
    errors_of,
    give_profile,
    num_stored,
    submit,
)

DRY = {"dry_run": "true"}


@pytest.fixture
def client(client: TestClient) -> TestClient:
    give_profile(client, "ada", attributes={"first_name": "Ada"})
    give_profile(client, "bob")
    return client


def rehearsed(client: TestClient, **body: object) -> Json:
    answer = client.post("/v1/jobs", json=body, params=DRY)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def measured(api: Api, rate: float) -> None:
    with api.database.transaction() as session:
        session.execute(update(Worker).values(tokens_per_second=rate))
        session.execute(update(Model).values(tokens_per_second=rate))


def past_job(api: Api, client: TestClient, *, prompt_tokens: int, completion_tokens: int) -> None:
    """A job of one text for a prompt of 15 bytes."""
    job_id = accepted(submit(client, an_item()))
    end_item(api.database, job_id, 0)
    with api.database.transaction() as session:
        session.execute(update(Result).values(num_prompt_tokens=prompt_tokens, num_completion_tokens=completion_tokens))


def test_every_form_of_submission_can_be_rehearsed_and_leaves_nothing(api: Api, client: TestClient) -> None:
    item = an_item(max_tokens=7)
    lines = client.post("/v1/jobs", content=json.dumps(item).encode(), headers=NDJSON_HEADERS, params=DRY)
    table = client.post(
        "/v1/jobs",
        content=b"user_id,prompt,max_tokens\nada,Write about tea.,7\n",
        headers={"Content-Type": "text/csv"},
        params=DRY,
    )

    told = [
        rehearsed(client, items=[item]),
        lines.json(),
        table.json(),
        rehearsed(client, prompt="Write about tea.", audience={"user_ids": ["ada"]}, defaults={"max_tokens": 7}),
    ]

    assert [(each["object"], each["num_items"], each["max_completion_tokens"]) for each in told] == [
        ("job.dry_run", 1, 7)
    ] * 4
    assert num_stored(api.database) == NOTHING
    assert api.queue.published == []


def test_a_rehearsal_is_refused_for_the_same_reasons(client: TestClient) -> None:
    body = {"items": [an_item("a", "nobody"), an_item("b", k=0), an_item("c", max_tokens=4096)]}

    assert errors_of(client.post("/v1/jobs", json=body, params=DRY)) == errors_of(client.post("/v1/jobs", json=body))


def test_it_tells_who_is_skipped_and_held_out(client: TestClient) -> None:
    told = rehearsed(
        client, prompt="For {first_name}", audience={"all": True}, missing="skip", holdout=0.5, holdout_seed=3, name="x"
    )

    assert (told["name"], told["num_items"], told["audience"]["num_skipped"]) == ("x", 1, 1)
    assert told["holdout"]["num_holdout"] + told["holdout"]["num_guided"] == 1


def test_the_upper_bound_counts_every_answer(client: TestClient) -> None:
    told = rehearsed(client, items=[an_item("a", n=3, max_tokens=10), an_item("b", max_tokens=5)])

    assert told["max_completion_tokens"] == 35


def test_what_nobody_has_measured_is_null_and_says_why(api: Api, client: TestClient) -> None:
    told = rehearsed(client, items=[an_item()])

    assert (told["expected_completion_tokens"], told["expected_seconds"]) == (None, None)
    assert "written no text for you" in told["expected_completion_tokens_basis"]
    assert "not written enough to be measured" in told["expected_seconds_basis"]
    assert told["prompt_tokens"] == 4 + 10
    assert "An estimate" in told["prompt_tokens_basis"]
    api.stop_workers()
    assert "no worker serves" in rehearsed(client, items=[an_item()])["expected_seconds_basis"]


def test_estimates_are_made_of_ones_own_texts_and_the_measured_rate(api: Api, client: TestClient) -> None:
    past_job(api, client, prompt_tokens=5, completion_tokens=20)
    measured(api, 10.0)

    told = rehearsed(client, items=[an_item(str(n)) for n in range(3)] + [an_item("short", max_tokens=4)])

    assert told["prompt_tokens"] == 4 * 5
    assert told["expected_completion_tokens"] == 3 * 20 + 4
    assert told["expected_seconds"] == 7
    assert "10 tokens a second" in told["expected_seconds_basis"]


def test_another_tenants_texts_say_nothing(api: Api, client: TestClient) -> None:
    past_job(api, client, prompt_tokens=5, completion_tokens=20)
    rival = api.client(tenant="rival")
    give_profile(rival)

    assert rehearsed(rival, items=[an_item()])["expected_completion_tokens"] is None


def test_the_tenants_own_work_ahead_is_counted_and_others_only_told_of(api: Api, client: TestClient) -> None:
    past_job(api, client, prompt_tokens=5, completion_tokens=20)
    measured(api, 10.0)
    submit(client, *[an_item(str(n)) for n in range(5)])
    submit(client, an_item("later"), priority="bulk")
    rival = api.client(tenant="rival")
    give_profile(rival)

    alone = rehearsed(client, items=[an_item()])
    urgent = rehearsed(client, items=[an_item()], priority="interactive")
    submit(rival, an_item())
    shared = rehearsed(client, items=[an_item()])

    assert (alone["num_items_ahead"], alone["expected_seconds"]) == (5, 12)
    assert (urgent["num_items_ahead"], urgent["expected_seconds"]) == (0, 2)
    assert shared["num_items_ahead"] == 5
    assert "Other tenants share" in shared["expected_seconds_basis"]
    assert "Other tenants share" not in alone["expected_seconds_basis"]


def test_a_worker_that_was_not_measured_counts_as_the_last_one_that_was(api: Api, client: TestClient) -> None:
    past_job(api, client, prompt_tokens=5, completion_tokens=20)
    measured(api, 10.0)
    api.serve()

    assert "20 tokens a second" in rehearsed(client, items=[an_item()])["expected_seconds_basis"]
