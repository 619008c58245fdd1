"""A refusal says what is missing, in the words of what was asked for; and no more than the key may know."""

import uuid

import pytest
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from tests.api.conftest import Api
from tests.api.job_requests import accepted, an_item, end_item, errors_of, give_profile, set_running, submit

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
EMOJI = "\U0001f469\u200d\U0001f4bb"
ANYBODY = uuid.UUID(int=7)


def campaign(client: TestClient, prompt: str, **audience: object) -> tuple[list[tuple[str, str]], list[str]]:
    """What a refused campaign's errors are: (code, pointer), and their messages."""
    answer = client.post("/v1/jobs", json={"prompt": prompt, "audience": audience})
    return errors_of(answer), [error["message"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/v1/profiles/nobody", "no profile"),
        ("/v1/profiles/nobody/versions", "no profile"),
        ("/v1/profiles/nobody/versions/1", "no such version"),
        ("/v1/profiles/nobody/feedback", "no profile"),
        (f"/v1/jobs/{ANYBODY}", "no job"),
        (f"/v1/jobs/{ANYBODY}/results", "no job"),
        ("/v1/jobs/not-an-id", "no job"),
        ("/v1/models/unknown", "no model"),
        ("/v1/nothing", "nothing at this address"),
    ],
)
def test_what_is_not_there_is_named(client: TestClient, path: str, what: str) -> None:
    problem = client.get(path).json()

    assert (problem["code"], what in problem["detail"]) == ("not_found", True), problem["detail"]


def test_an_audience_of_nobody_is_named_as_such(client: TestClient) -> None:
    empty = campaign(client, "Hi", all=True)
    give_profile(client)
    untagged = campaign(client, "Hi", tags=["gold"])

    assert empty == ([("no_items", "/audience/all")], ["There are no profiles yet: store one first."])
    assert untagged == ([("no_items", "/audience/tags")], ["No profile has any of these tags."])


def test_a_key_that_may_not_read_profiles_learns_no_user_from_errors(api: Api, client: TestClient) -> None:
    give_profile(client, "secret-user", tags=["a"], attributes={"blank": " "})
    writer = api.client(Scope.JOBS_WRITE)

    for prompt in ("Hi {first_name}", "{blank}"):
        for audience in ({"all": True}, {"tags": ["a"]}):
            told = campaign(client, prompt, **audience)
            untold = campaign(writer, prompt, **audience)
            assert "secret-user" in told[1][0]
            assert "secret-user" not in untold[1][0]
            assert told[0] == untold[0]


def test_a_key_that_names_users_itself_is_told_which_one_is_meant(api: Api, client: TestClient) -> None:
    give_profile(client, "ada")

    _, messages = campaign(api.client(Scope.JOBS_WRITE), "Hi {first_name}", user_ids=["ada"])

    assert messages == ["The profile of user `ada` has no attribute `first_name`."]


@pytest.mark.parametrize("tag", [PERSIAN, EMOJI])
def test_a_tag_may_have_the_joiners_of_its_script(client: TestClient, tag: str) -> None:
    give_profile(client, tags=[tag])

    assert [profile["user_id"] for profile in client.get("/v1/profiles", params={"tag": tag}).json()["data"]] == ["ada"]


@pytest.mark.parametrize("tag", ["\u200c", "a\u200c", "\u200da", "a\u200bb", "a\u202eb", " a"])
def test_a_tag_that_cannot_be_seen_as_it_is_is_refused(client: TestClient, tag: str) -> None:
    answer = client.put("/v1/profiles/ada", json={"tags": [tag]})

    assert errors_of(answer) == [("tag", "/tags/0")]


@pytest.mark.parametrize(
    ("said", "unsaid"),
    [
        ({"tags": ["a"]}, ("user_ids", "all")),
        ({"user_ids": ["ada"]}, ("tags", "all")),
        ({"all": True}, ("tags", "user_ids")),
    ],
)
def test_a_null_is_as_if_unsaid_in_an_audience(
    client: TestClient, said: dict[str, object], unsaid: tuple[str, ...]
) -> None:
    give_profile(client, tags=["a"])

    answer = client.post("/v1/jobs", json={"prompt": "Hi", "audience": {**said, **dict.fromkeys(unsaid)}})

    accepted(answer)


def test_every_null_that_the_schema_of_an_item_allows_is_as_if_unsaid(client: TestClient) -> None:
    give_profile(client)
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    nullable = {
        schema: [
            name
            for name, field in schemas[schema]["properties"].items()
            if {"type": "null"} in field.get("anyOf", []) and name != "prompt"
        ]
        for schema in ("ItemIn", "Overrides", "JobIn")
    }
    assert all(nullable.values())

    accepted(
        submit(
            client,
            an_item(),
            {**an_item("b"), **dict.fromkeys(nullable["ItemIn"])},
            {**an_item("c"), "k": None, "top_k": 5},
            {**an_item("d"), "k": 5, "top_k": None},
            defaults=dict.fromkeys(nullable["Overrides"]),
            **dict.fromkeys(nullable["JobIn"]),
        )
    )


def test_there_is_no_estimate_before_as_many_have_ended_as_are_being_written(api: Api, client: TestClient) -> None:
    give_profile(client)
    job_id = accepted(submit(client, *(an_item(str(number)) for number in range(20))))
    set_running(api.database, job_id, *range(3, 7))
    estimates = []

    for position in range(4):
        end_item(api.database, job_id, position)
        estimates.append(client.get(f"/v1/jobs/{job_id}").json()["eta_seconds"])

    assert [estimate is None for estimate in estimates] == [True, True, True, False]
