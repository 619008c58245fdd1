"""Feedback over HTTP: stored once, only with consent, and handed to a worker."""

import json
import uuid
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from api.profiles import feedback
from db.models import FeedbackPair, Fit, Item, Result
from db.queries import fits
from db.session import Database, now
from domain.states import ItemState
from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, give_profile, submit
from tests.builders import DIGEST
from worker.queue import LEARN

MODEL = "hub/tiny-model"
PATH = "/v1/profiles/ada/feedback"
Json = dict[str, Any]


def pairs(num_pairs: int, start: int = 0) -> list[Json]:
    return [
        {"prompt": f"Write about tea {number}.", "chosen": "Shall we?", "rejected": "We shall."}
        for number in range(start, start + num_pairs)
    ]


def give(client: TestClient, *given: Json, **others: object) -> Response:
    return client.post(PATH, json={"pairs": list(given), **others})


def refused(response: Response, status: int) -> tuple[str, list[str]]:
    """Code and pointers of a problem."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    return problem["error"]["code"], [error["pointer"] for error in problem.get("errors", ())]


def rate(client: TestClient, job_id: str, values: dict[str, float]) -> Response:
    """Rate results of a job, by custom id."""
    rated = [{"job_id": job_id, "custom_id": custom_id, "rating": value} for custom_id, value in values.items()]
    return client.post(PATH, json={"ratings": rated})


def num_stored(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(FeedbackPair)).one()


@pytest.fixture
def learner(client: TestClient) -> TestClient:
    """A client whose user ada agrees to learning."""
    give_profile(client, "ada", "formal", "playful", learn=True)
    return client


def test_enough_pairs_are_stored_and_a_worker_is_asked_to_fit(learner: TestClient, api: Api) -> None:
    answer = give(learner, *pairs(6))

    assert answer.status_code == 202
    body = answer.json()
    assert (body["object"], body["user_id"]) == ("profile.feedback", "ada")
    assert (body["num_pairs"], body["num_new"], body["num_duplicate"], body["message"]) == (6, 6, 0, None)
    assert (body["fit"]["state"], body["fit"]["version"], body["fit"]["error"]) == ("queued", None, None)
    assert api.queue.published == [(LEARN, [body["fit"]["id"]])]
    assert learner.get(PATH).json()["fit"] == body["fit"]


def test_pairs_add_up_until_there_are_enough(learner: TestClient, api: Api) -> None:
    first = give(learner, *pairs(3)).json()
    second = give(learner, *pairs(3, start=2)).json()

    assert first["fit"] is None
    assert first["message"] == "Pairs stored: 3; from 5 on the weights are fitted to them."
    assert (second["num_pairs"], second["num_new"], second["num_duplicate"]) == (5, 2, 1)
    assert second["fit"]["state"] == "queued"
    assert len(api.queue.published) == 1


def test_pairs_that_are_all_known_ask_for_nothing(learner: TestClient, api: Api) -> None:
    fit = give(learner, *pairs(5)).json()["fit"]
    again = give(learner, *pairs(5)).json()

    assert again["message"] == "Every pair of this request was stored before: there is nothing new to learn."
    assert (again["num_new"], again["num_duplicate"], again["fit"]) == (0, 5, fit)
    assert len(api.queue.published) == 1


def test_a_contradiction_is_named_and_nothing_is_stored(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(2))
    turned = {"prompt": "Write about tea 1.", "chosen": "We shall.", "rejected": "Shall we?"}

    answer = give(learner, *pairs(4, start=10), turned)

    assert refused(answer, 409) == ("feedback_contradicts", ["/pairs/4"])
    assert answer.json()["error"]["param"] == "pairs/4"
    assert num_stored(api.database) == 2


def test_without_consent_nothing_is_stored(client: TestClient, api: Api) -> None:
    give_profile(client, "ada", "formal", "playful")

    answer = give(client, *pairs(6))

    assert refused(answer, 409) == ("consent_required", [])
    assert "learn: true" in answer.json()["detail"]
    assert num_stored(api.database) == 0
    assert api.queue.published == []


def test_one_principle_is_nothing_to_weigh(client: TestClient) -> None:
    give_profile(client, "ada", "formal", learn=True)

    assert refused(give(client, *pairs(6)), 409)[0] == "too_few_principles"


def test_learning_needs_no_policy(api: Api) -> None:
    api.serve_without_policy()
    client = api.client()
    give_profile(client, "ada", "formal", "playful", learn=True)

    assert give(client, *pairs(6)).status_code == 202


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"pairs": [{"prompt": "p", "chosen": "a", "rejected": "a"}]}, "/pairs/0"),
        ({"pairs": [{"chosen": "a", "rejected": "b"}]}, "/pairs/0"),
        ({"pairs": [{"prompt": " ", "chosen": "a", "rejected": "b"}]}, "/pairs/0/prompt"),
        ({"pairs": [{"prompt": "p", "chosen": "", "rejected": "b"}]}, "/pairs/0/chosen"),
        ({"pairs": [{"prompt": "p", "chosen": "a\0", "rejected": "b"}]}, "/pairs/0/chosen"),
        ({"pairs": pairs(1001)}, "/pairs"),
        ({"pairs": pairs(1), "votes": []}, "/votes"),
        ({"ratings": [{"job_id": "x", "custom_id": "a", "rating": 1.0}]}, "/ratings/0/job_id"),
        ({"ratings": [{"job_id": str(uuid.UUID(int=1)), "custom_id": "a", "rating": 1.0}]}, "/ratings/0"),
    ],
)
def test_what_is_wrong_is_named(learner: TestClient, api: Api, body: Json, pointer: str) -> None:
    answer = learner.post(PATH, json=body)

    assert refused(answer, 422)[1] == [pointer]
    assert num_stored(api.database) == 0


def test_ratings_of_results_become_pairs(learner: TestClient, api: Api) -> None:
    items = [
        *(an_item(f"tea {number}", prompt="Write about tea.", seed=number) for number in range(4)),
        an_item("chess", prompt="Write about chess."),
    ]
    job_id = str(accepted(submit(learner, *items)))
    write_results(api.database)

    answer = rate(learner, job_id, {"tea 0": 5, "tea 1": 1, "tea 2": 5, "tea 3": 3, "chess": 2})

    assert answer.status_code == 202
    assert answer.json()["num_new"] == 5  # of six pairs of tea, two texts are liked the same
    with api.database.reading() as session:
        stored = session.execute(select(FeedbackPair.chosen, FeedbackPair.rejected)).all()
    assert sorted(map(tuple, stored)) == [
        ("text of tea 0", "text of tea 1"),
        ("text of tea 0", "text of tea 3"),
        ("text of tea 2", "text of tea 1"),
        ("text of tea 2", "text of tea 3"),
        ("text of tea 3", "text of tea 1"),
    ]


def test_ratings_that_come_one_by_one_become_pairs(learner: TestClient, api: Api) -> None:
    """As when a user rates each text where it is read: no request ever holds two of one prompt."""
    job_id = str(accepted(submit(learner, *(an_item(str(number), seed=number) for number in range(4)))))
    write_results(api.database)

    answers = [rate(learner, job_id, {str(number): float(number)}) for number in range(4)]

    assert [answer.status_code for answer in answers] == [202] * 4
    bodies = [answer.json() for answer in answers]
    assert [(body["num_pairs"], body["num_ratings"]) for body in bodies] == [(0, 1), (1, 2), (3, 3), (6, 4)]
    assert bodies[0]["message"].startswith("These ratings make no pair yet")
    assert [body["fit"] is None for body in bodies] == [True, True, True, False]
    assert len(api.queue.published) == 2  # the job's own, and the fit's


def test_a_rating_that_turns_a_pair_over_is_refused_and_the_one_before_stays(learner: TestClient, api: Api) -> None:
    job_id = str(accepted(submit(learner, *(an_item(str(number), seed=number) for number in range(3)))))
    write_results(api.database)
    rate(learner, job_id, {"0": 1, "1": 2})

    turned = rate(learner, job_id, {"2": 1.5, "0": 3})
    moved = rate(learner, job_id, {"1": 9})

    assert refused(turned, 409) == ("feedback_contradicts", ["/ratings/1"])
    assert (moved.status_code, moved.json()["num_duplicate"], moved.json()["num_ratings"]) == (202, 1, 2)


def test_two_results_that_read_the_same_cannot_be_rated_differently(learner: TestClient, api: Api) -> None:
    job_id = str(accepted(submit(learner, an_item("a"), an_item("b"))))
    write_results(api.database, text="the same text")

    assert refused(rate(learner, job_id, {"a": 1, "b": 2}), 409) == ("feedback_contradicts", ["/ratings/1"])
    assert rate(learner, job_id, {"a": 1, "b": 1}).json()["num_ratings"] == 1


def test_ratings_that_would_make_too_many_pairs_are_refused_whole(
    learner: TestClient, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_PAIRS_OF_RATINGS", 5)
    job_id = str(accepted(submit(learner, *(an_item(str(number), seed=number) for number in range(4)))))
    write_results(api.database)

    answer = rate(learner, job_id, {str(number): float(number) for number in range(4)})

    assert refused(answer, 413)[0] == "body_too_large"
    assert num_stored(api.database) == 0


def test_ratings_of_other_users_texts_are_refused(learner: TestClient, api: Api) -> None:
    give_profile(learner, "bob", "formal")
    job_id = str(accepted(submit(learner, an_item("a"), an_item("b", user_id="bob"))))
    write_results(api.database)

    answer = rate(learner, job_id, dict.fromkeys(("a", "b", "c"), 1.0))

    assert refused(answer, 422) == ("invalid_request", ["/ratings/1", "/ratings/2"])


def test_a_text_that_was_written_for_nobody_is_nobodys_to_rate(learner: TestClient, api: Api) -> None:
    line = {"model": "hub/tiny-model", "messages": [{"role": "user", "content": "Write about tea."}]}
    content = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": line})
    file = learner.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    job_id = learner.post("/v1/batches", json=asked).json()["job_id"]
    write_results(api.database)

    assert refused(rate(learner, job_id, {"a": 1.0}), 422) == ("invalid_request", ["/ratings/0"])


def test_what_was_learnt_is_shown_with_the_profile(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))
    learned = {"num_pairs": 6, "base_version": 1, "deviations": [0.4, 0.5], "agreement": 0.9}
    with api.database.transaction() as session:
        fit = fits.claim(session, owner=uuid.UUID(int=1), model_digest=DIGEST, lease_seconds=60)
        assert fit is not None
        body = fit.profile.body | {"method": "mixture"}
        fits.succeed(session, owner=uuid.UUID(int=1), fit=fit, body=body, learned=learned)

    profile, read = learner.get("/v1/profiles/ada").json(), learner.get(PATH).json()
    exported = learner.get("/v1/profiles:export").text
    imported = learner.post(
        "/v1/profiles:import", content=exported, headers={"Content-Type": "application/x-ndjson"}
    ).json()

    assert (profile["version"], profile["learned"], profile["learn"]) == (2, learned, True)
    assert (read["fit"]["state"], read["fit"]["num_pairs"], read["fit"]["version"]) == ("succeeded", 6, 2)
    assert imported["num_unchanged"] == 1
    assert learner.get("/v1/profiles/ada").json() == profile
    assert learner.get("/v1/profiles/ada/versions/1").json()["learned"] is None


def test_why_nothing_was_learnt_is_told(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))
    fail_the_fit(api.database)

    fit_resource = learner.get(PATH).json()["fit"]

    assert (fit_resource["state"], fit_resource["num_pairs"]) == ("failed", 2)
    assert fit_resource["error"] == {"code": "too_few_pairs", "message": "Too few."}


def test_known_pairs_that_nothing_was_learnt_from_can_be_sent_again(learner: TestClient, api: Api) -> None:
    """As after the engine was lost, or once the worker has a policy: there is no other way to ask anew."""
    failed = give(learner, *pairs(6)).json()["fit"]
    fail_the_fit(api.database)

    again = give(learner, *pairs(6)).json()

    assert (again["num_new"], again["num_duplicate"], again["message"]) == (0, 6, None)
    assert again["fit"]["state"] == "queued"
    assert [args for _, args in api.queue.published] == [[failed["id"]], [again["fit"]["id"]]]


def test_no_tenant_sees_or_adds_to_anothers_feedback(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))
    stranger = api.client(tenant="other")

    assert refused(stranger.get(PATH), 404)[0] == "not_found"
    assert refused(give(stranger, *pairs(6)), 404)[0] == "not_found"


def test_feedback_can_be_withdrawn_and_given_anew(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))

    withdrawn = learner.delete(PATH)

    assert (withdrawn.status_code, withdrawn.content) == (204, b"")
    assert num_stored(api.database) == 0
    left = learner.get(PATH).json()
    assert left["num_pairs"] == 0
    assert (left["fit"]["state"], left["fit"]["error"]["code"]) == ("failed", "feedback_withdrawn")
    assert learner.get("/v1/profiles/ada").json()["version"] == 1
    turned = [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in pairs(6)]
    again = give(learner, *turned)
    assert (again.status_code, again.json()["fit"]["state"]) == (202, "queued")


def test_no_tenant_withdraws_anothers_feedback(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))

    assert refused(api.client(tenant="other").delete(PATH), 404)[0] == "not_found"
    assert num_stored(api.database) == 6


def test_a_user_without_a_profile_has_no_feedback(client: TestClient) -> None:
    assert refused(client.get(PATH), 404)[0] == "not_found"
    assert refused(give(client, *pairs(6)), 404)[0] == "not_found"
    assert refused(client.delete(PATH), 404)[0] == "not_found"


def test_withdrawing_needs_the_right_to_write(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6))

    assert refused(api.client(Scope.PROFILES_READ).delete(PATH), 403)[0] == "insufficient_scope"
    assert num_stored(api.database) == 6


def test_consent_given_or_withdrawn_is_a_version_and_profiles_without_it_stay_as_they_were(client: TestClient) -> None:
    give_profile(client, "ada", "formal")
    before = client.get("/v1/profiles/ada").json()

    agreed = client.patch("/v1/profiles/ada", json={"learn": True}).json()
    withdrawn = client.patch("/v1/profiles/ada", json={"learn": False}).json()

    assert (before["learn"], agreed["learn"], withdrawn["learn"]) == (False, True, False)
    assert (agreed["version"], withdrawn["version"]) == (2, 3)
    assert withdrawn["etag"].partition("-")[2] == before["etag"].partition("-")[2]


def test_no_fit_is_queued_by_a_request_that_fails(learner: TestClient, api: Api) -> None:
    give(learner, *pairs(6), votes=1)

    with api.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Fit)).one() == 0


def fail_the_fit(database: Database) -> None:
    """As a worker that could score two pairs."""
    owner = uuid.UUID(int=1)
    with database.transaction() as session:
        fit = fits.claim(session, owner=owner, model_digest=DIGEST, lease_seconds=60)
        assert fit is not None
        fits.fail(session, owner=owner, fit=fit, code="too_few_pairs", message="Too few.", num_pairs=2)


def write_results(database: Database, text: str | None = None) -> None:
    """As a worker that ended every item, each with a text of its own or all with this one."""
    with database.transaction() as session:
        for item in session.scalars(select(Item)):
            item.state, item.finished_at = ItemState.SUCCEEDED, now(session)
            session.add(Result(item_id=item.id, text=text or f"text of {item.custom_id}"))
