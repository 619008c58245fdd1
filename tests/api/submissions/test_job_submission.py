"""A submission is stored whole or not at all, exactly as it was meant, and then a worker is woken."""

import sqlite3
import uuid

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import event
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.settings import Settings
from db.session import Database
from tests.api.conftest import Api, RecordingQueue, an_api
from tests.api.job_requests import (
    NOTHING,
    accepted,
    an_item,
    give_profile,
    items_of_job,
    num_stored,
    preference_of,
    submit,
    submit_lines,
)
from worker.queue import DECODE


def test_an_accepted_job_is_answered_with_itself(client: TestClient) -> None:
    give_profile(client)

    answer = submit(client, an_item("a"), an_item("b"), metadata={"campaign": "tea"})

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["state"], job["model"]) == ("job", "queued", "hub/tiny-model")
    assert job["metadata"] == {"campaign": "tea"}
    assert job["counts"] == {"queued": 2, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "total": 2}
    assert job["created_at"].endswith("Z")
    assert client.get(answer.headers["location"]).json() == job


def test_items_are_stored_in_input_order_with_everything_a_worker_needs(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "humor")
    give_profile(client, "bob", "formal")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}]

    job_id = accepted(submit(client, an_item("z", "bob"), an_item("a", "ada", prompt=None, messages=turns, k=3)))

    first, second = items_of_job(api.database, job_id)
    assert [(item.position, item.custom_id, item.user_id) for item in (first, second)] == [
        (0, "z", "bob"),
        (1, "a", "ada"),
    ]
    assert first.messages == [{"role": "user", "content": "Write about tea."}]
    assert second.messages == turns
    assert (first.model, first.profile_version, first.state.value, first.attempt) == ("hub/tiny-model", 1, "queued", 0)
    assert (first.sampling["k"], second.sampling["k"]) == (None, 3)  # None: as many as suit its method
    assert preference_of(api.database, first)["principles"] == [["formal", 1.0]]


def test_the_same_job_as_ndjson_is_the_same_job(api: Api, client: TestClient) -> None:
    give_profile(client)
    items = [an_item(f"item-{number}", max_tokens=number + 1) for number in range(5)]
    options = {"defaults": {"k": 4, "stop": "END"}, "metadata": {"a": "b"}}

    as_json = submit(client, *items, defaults=options["defaults"], metadata=options["metadata"])
    as_ndjson = submit_lines(client, options, *items)

    def what_matters(job_id: uuid.UUID) -> list[object]:
        return [
            (item.position, item.custom_id, item.preference_hash, item.messages, item.sampling)
            for item in items_of_job(api.database, job_id)
        ]

    assert what_matters(accepted(as_json)) == what_matters(accepted(as_ndjson))
    assert as_ndjson.json()["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    "media_type", ["application/x-ndjson", "application/jsonl", "application/ndjson; charset=utf-8"]
)
def test_ndjson_needs_no_options_and_may_have_blank_lines(client: TestClient, media_type: str) -> None:
    give_profile(client)

    answer = submit_lines(client, an_item("a"), "", an_item("b"), "", headers={"Content-Type": media_type})

    accepted(answer)
    assert answer.json()["counts"]["total"] == 2


def test_equal_preferences_are_stored_once(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "humor", "short")
    give_profile(client, "bob", "short", "humor")

    first = accepted(submit(client, an_item("a", "ada"), an_item("b", "bob")))
    second = accepted(submit(client, an_item("c", "bob")))

    hashes = {item.preference_hash for job in (first, second) for item in items_of_job(api.database, job)}
    assert len(hashes) == 1
    assert num_stored(api.database)["preferences"] == 1


def test_an_item_keeps_the_profile_version_it_was_submitted_with(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "humor")
    before = accepted(submit(client, an_item()))
    give_profile(client, "ada", "formal")

    after = accepted(submit(client, an_item()))

    (old,), (new,) = items_of_job(api.database, before), items_of_job(api.database, after)
    assert (old.profile_version, new.profile_version) == (1, 2)
    assert preference_of(api.database, old)["principles"] == [["humor", 1.0]]
    assert preference_of(api.database, new)["principles"] == [["formal", 1.0]]


def test_a_worker_is_woken_once_after_the_job_can_be_seen(api: Api, client: TestClient) -> None:
    give_profile(client)
    seen_when_woken: list[int] = []

    class WatchingQueue(RecordingQueue):
        def send_task(self, name: str, *, args: list[str], queue: str, expires: float, retry: bool) -> None:
            super().send_task(name, args=args, queue=queue, expires=expires, retry=retry)
            seen_when_woken.append(num_stored(api.database)["items"])

    api.queue = WatchingQueue()
    accepted(submit(api.client(), an_item("a"), an_item("b")))

    assert len(api.queue.published) == 1
    assert seen_when_woken == [2]


def test_the_message_is_the_job_id_alone(api: Api, client: TestClient) -> None:
    give_profile(client)

    job_id = accepted(submit(client, an_item()))

    assert api.queue.published == [(DECODE, [str(job_id)])]


def test_a_job_is_accepted_while_redis_is_down(api: Api, client: TestClient) -> None:
    give_profile(client)

    class DeadQueue(RecordingQueue):
        def send_task(self, name: str, *, args: list[str], queue: str, expires: float, retry: bool) -> None:
            super().send_task(name, args=args, queue=queue, expires=expires, retry=retry)
            raise OperationalError

    api.queue = DeadQueue()

    job_id = accepted(submit(api.client(), an_item()))

    assert len(items_of_job(api.database, job_id)) == 1


def test_a_failed_commit_is_a_server_error_and_wakes_nobody(api: Api, client: TestClient) -> None:
    give_profile(client)

    def refuse(_: Session) -> None:
        raise sqlite3.OperationalError("disk full")

    event.listen(Session, "before_commit", refuse)
    try:
        answer = submit(client, an_item(), headers={"Idempotency-Key": "once"})
    finally:
        event.remove(Session, "before_commit", refuse)

    assert answer.status_code >= 500
    assert api.queue.published == []
    assert num_stored(api.database) == NOTHING


def test_many_lines_are_stored_in_order(api: Api, client: TestClient) -> None:
    # More than one batch of rows, of inserts, and more than the spool keeps in memory.
    give_profile(client)
    num_items = 3000
    lines = [an_item(f"item-{number}", prompt=f"{number}: " + "tea " * 100) for number in range(num_items)]

    job_id = accepted(submit_lines(client, *lines))

    items = items_of_job(api.database, job_id)
    assert [item.custom_id for item in items] == [f"item-{number}" for number in range(num_items)]
    assert [item.position for item in items] == list(range(num_items))
    assert all(str(item.messages[0]["content"]).startswith(f"{item.position}: ") for item in items)


def test_a_text_may_hold_any_character(settings: Settings, database: Database) -> None:
    api = an_api(settings, database)
    client = api.client()
    give_profile(client)
    text = "a\x00b\r\n\u2028\U0001f375 \\u0000"

    job_id = accepted(submit(client, an_item(prompt=text, stop=["\x00"])))

    (item,) = items_of_job(database, job_id)
    assert (item.messages[0]["content"], item.sampling["stop"]) == (text, ["\x00"])


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/jobs", content=b"<a/>", headers={"Content-Type": "text/xml"})

    assert answer.status_code == 415


def test_a_body_over_the_limit_is_refused(settings: Settings, api: Api) -> None:
    api.settings = settings.model_copy(update={"max_json_bytes": 200, "max_body_bytes": 400})
    client = api.client()
    give_profile(client)

    assert submit(client, *[an_item(str(number)) for number in range(5)]).status_code == 413
    assert submit_lines(client, *[an_item(str(number)) for number in range(20)]).status_code == 413
    assert num_stored(api.database) == NOTHING
