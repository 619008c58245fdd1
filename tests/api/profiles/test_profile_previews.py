"""Previews of a profile over HTTP: what is refused, what is queued for a worker, and that nothing of it stays."""

import threading
import uuid
from typing import Self

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from db.models import Item, Job, Result
from db.queries import claims
from domain.attempts import Outcome
from domain.json_values import JsonObject
from tests.api.conftest import Api
from tests.api.job_requests import give_profile
from tests.builders import a_description

CANDIDATE = {"token_id": 7, "text": "tea", "base_log_probability": 0.0, "reward": 0.5, "guided_log_probability": 0.0}
NUMBERS = {"log_probability": -1.0, "reward": 0.5, "strength": 1.0, "kl": 0.1}
TOKEN = {"token_id": 7, "text": "tea", **NUMBERS, "is_changed": False, "is_end": False, "candidates": [CANDIDATE]}
INSIGHT: JsonObject = {"strength": 1.0, "max_kl": None, "principles": [], "tokens": [TOKEN]}


class Working:
    """A worker's part: claims what is queued and says what it was asked."""

    def __init__(self, api: Api, num_items: int) -> None:
        self.items: list[claims.ClaimedItem] = []
        self._api = api
        self._num_items = num_items
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _work(self) -> None:
        owner = uuid.uuid4()
        for _ in range(600):
            with self._api.database.transaction() as session:
                found = claims.claim(
                    session, owner=owner, model_digest=a_description().digest, limit=10, lease_seconds=60
                )
                outcomes = [self._outcome(item) for item in found]
                claims.save(session, owner=owner, outcomes=outcomes)
            self.items += found
            if len(self.items) >= self._num_items:
                return
            threading.Event().wait(0.02)

    def _outcome(self, item: claims.ClaimedItem) -> Outcome:
        wanted = item.sampling.get("token_rewards")
        text = str(item.sampling.get("given") or item.preference["method"])
        insight = INSIGHT if wanted else None
        return Outcome(item.item_id, item.attempt, text=text, finish_reason="stop", token_rewards=insight)


@pytest.fixture
def served(client: TestClient) -> TestClient:
    """A tenant with a user; a model is ready."""
    give_profile(client, "ada", principles=["formal"])
    return client


def test_each_variant_is_written_and_nothing_of_it_stays(api: Api, served: TestClient) -> None:
    variants = [{"method": "none"}, {"method": "prompt"}, {"strength": 2.0}]

    with Working(api, 3) as worker:
        answer = served.post("/v1/profiles/ada/preview", json={"prompt": "Tea?", "variants": variants})

    body = answer.json()
    assert answer.status_code == 200, body
    assert body["complete"]
    assert [each["text"] for each in body["data"]] == ["none", "prompt", "pad"]
    assert [each["token_rewards"] for each in body["data"]] == [None] * 3
    assert {item.sampling["seed"] for item in worker.items} == {0}
    with api.database.reading() as session:
        assert [session.scalar(select(func.count()).select_from(each)) for each in (Job, Item, Result)] == [0, 0, 0]


def test_token_rewards_come_with_a_text_that_is_written_or_given(api: Api, served: TestClient) -> None:
    with Working(api, 2):
        written = served.post("/v1/profiles/ada/preview", json={"prompt": "Tea?", "token_rewards": True}).json()
        given = served.post("/v1/preview", json={"prompt": "Tea?", "text": "Tea!", "principles": ["brief"]}).json()

    assert written["data"][0]["token_rewards"]["tokens"] == [TOKEN]
    assert given["data"][0]["text"] == "Tea!"
    assert given["data"][0]["token_rewards"]["tokens"] == [TOKEN]
    assert (given["user_id"], given["profile_version"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, ""),
        ({"prompt": "a", "n": 2}, ""),
        ({"prompt": "a", "token_rewards": True, "max_tokens": 513}, ""),
        ({"prompt": "a", "variants": []}, "/variants"),
        ({"prompt": "a", "variants": [{"strength": -1}]}, "/variants/0/strength"),
        ({"prompt": "a", "text": ""}, "/text"),
    ],
)
def test_what_cannot_be_shown_is_refused(served: TestClient, body: JsonObject, pointer: str) -> None:
    answer = served.post("/v1/profiles/ada/preview", json=body)

    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_a_preview_is_of_the_keys_own_users_and_needs_to_read_profiles(api: Api, served: TestClient) -> None:
    stranger = api.client(tenant="other")
    blind = api.client(Scope.JOBS_WRITE)

    assert served.post("/v1/profiles/nobody/preview", json={"prompt": "a"}).status_code == 404
    assert stranger.post("/v1/profiles/ada/preview", json={"prompt": "a"}).status_code == 404
    assert blind.post("/v1/profiles/ada/preview", json={"prompt": "a"}).status_code == 403


def test_without_a_worker_it_says_so_at_once(api: Api, client: TestClient) -> None:
    give_profile(client, "ada")
    api.stop_workers()

    body = client.post("/v1/profiles/ada/preview", json={"prompt": "a"}).json()

    assert body["data"][0]["error"]["code"] == "no_worker"
    assert not body["complete"]
