"""Whom a campaign is for: tags in any combination, without the excluded; who is skipped or unknown is told."""

import uuid

import pytest
from starlette.testclient import TestClient

from api.http.dependencies import Scope
from tests.api.conftest import Api
from tests.api.job_requests import NOTHING, Json, accepted, errors_of, give_profile, items_of_job, num_stored


def submitted(client: TestClient, prompt: str = "Write.", **fields: object) -> Json:
    answer = client.post("/v1/jobs", json={"prompt": prompt, "audience": {"all": True}, **fields})
    accepted(answer)
    return dict(answer.json())


def refused(client: TestClient, prompt: str = "Write.", **fields: object) -> list[Json]:
    answer = client.post("/v1/jobs", json={"prompt": prompt, "audience": {"all": True}, **fields})
    assert errors_of(answer)
    return list(answer.json()["errors"])


def users_of(api: Api, job: Json) -> list[str]:
    return [item.user_id for item in items_of_job(api.database, accepted_id(job))]


def accepted_id(job: Json) -> uuid.UUID:
    return uuid.UUID(job["id"])


@pytest.fixture
def client(client: TestClient) -> TestClient:
    """A tenant with four users; one has no first name, and one has a blank one."""
    give_profile(client, "ada", attributes={"first_name": "Ada"}, tags=["beta", "uk"])
    give_profile(client, "bob", attributes={"first_name": " "}, tags=["uk"])
    give_profile(client, "cleo", attributes={"first_name": "Cleo"}, tags=["beta"])
    give_profile(client, "dora", tags=["paused", "uk"])
    return client


@pytest.mark.parametrize(
    ("audience", "users"),
    [
        ({"tags": {"any": ["beta", "uk"]}}, ["ada", "bob", "cleo", "dora"]),
        ({"tags": {"all": ["beta", "uk"]}}, ["ada"]),
        ({"tags": {"none": ["paused"]}}, ["ada", "bob", "cleo"]),
        ({"tags": {"any": ["uk"], "all": ["uk"], "none": ["paused", "beta"]}}, ["bob"]),
        ({"tags": ["uk"], "exclude": ["dora"]}, ["ada", "bob"]),
        ({"all": True, "exclude": ["ada", "cleo"]}, ["bob", "dora"]),
        ({"user_ids": ["dora", "ada"], "exclude": ["ada"]}, ["dora"]),
    ],
)
def test_an_audience_is_what_its_tags_say_without_the_excluded(
    api: Api, client: TestClient, audience: Json, users: list[str]
) -> None:
    assert users_of(api, submitted(client, audience=audience)) == users


def test_the_answer_tells_unknown_users_among_the_excluded(client: TestClient) -> None:
    told = submitted(client, audience={"tags": ["uk"], "exclude": ["nobody", "ada", "cleo", "nobody"]})["audience"]

    assert told == {
        "num_skipped": 0,
        "skipped": [],
        "defaulted": [],
        "num_excluded": 1,
        "num_unknown_excluded": 1,
        "unknown_excluded": ["nobody"],
    }


@pytest.mark.parametrize(
    ("audience", "pointer", "message"),
    [
        ({"tags": ["none-has-this"]}, "/audience/tags", "No profile has any of these tags."),
        ({"tags": {"all": ["beta", "paused"]}}, "/audience/tags", "No profile fits these tags."),
        ({"user_ids": ["ada"], "exclude": ["ada"]}, "/audience/exclude", "Everybody in the audience is excluded."),
    ],
)
def test_an_audience_of_nobody_is_refused_with_the_reason(
    api: Api, client: TestClient, audience: Json, pointer: str, message: str
) -> None:
    (error,) = refused(client, audience=audience)

    assert (error["code"], error["pointer"], error["message"]) == ("no_items", pointer, message)
    assert num_stored(api.database) == NOTHING


@pytest.mark.parametrize(
    ("audience", "code", "pointer"),
    [
        ({"tags": {}}, "no_tags", "/audience/tags"),
        ({"tags": {"some": ["a"]}}, "extra_forbidden", "/audience/tags/some"),
        ({"tags": {"any": []}}, "too_short", "/audience/tags/any"),
        ({"tags": {"none": [" x"]}}, "tag", "/audience/tags/none/0"),
        ({"tags": "uk"}, "list_type", "/audience/tags"),
        ({"exclude": ["ada"]}, "one_audience", "/audience"),
        ({"all": True, "exclude": ["a/b"]}, "user_id", "/audience/exclude/0"),
    ],
)
def test_an_unclear_expression_is_refused_in_its_place(
    client: TestClient, audience: Json, code: str, pointer: str
) -> None:
    assert [(error["code"], error["pointer"]) for error in refused(client, audience=audience)] == [(code, pointer)]


def test_more_excluded_users_than_a_job_has_items_are_not_looked_into(api: Api, client: TestClient) -> None:
    api.settings = api.settings.model_copy(update={"max_items": 5})

    (error,) = refused(api.client(), audience={"all": True, "exclude": ["x"] * 6})

    assert (error["code"], error["pointer"]) == ("too_many_items", "/audience/exclude")


def test_a_default_stands_where_the_attribute_is_missing_or_blank(api: Api, client: TestClient) -> None:
    job = submitted(client, "For {first_name|a friend: of | us} and {user_id|x}, {nick|}.")

    written = [item.messages[0]["content"] for item in items_of_job(api.database, accepted_id(job))]
    assert written == [
        "For Ada and ada, .",
        "For a friend: of | us and bob, .",
        "For Cleo and cleo, .",
        "For a friend: of | us and dora, .",
    ]


@pytest.mark.parametrize(
    "prompt", ["{first_name|{nick}}", "{first_name|a{b}", "{first_name|", "{|friend}", "{first name|x}", "{ a|x}"]
)
def test_a_default_is_plain_text_behind_a_plain_name(api: Api, client: TestClient, prompt: str) -> None:
    (error,) = refused(client, prompt)

    assert (error["code"], error["pointer"]) == ("placeholder", "/prompt")
    assert num_stored(api.database) == NOTHING


def test_who_lacks_an_attribute_is_skipped_counted_and_named_where_that_is_asked_for(
    api: Api, client: TestClient
) -> None:
    job = submitted(client, "For {first_name} in {city|London}.", missing="skip")

    assert users_of(api, job) == ["ada", "bob", "cleo"]
    assert (job["num_skipped"], job["counts"]["total"]) == (1, 3)
    assert job["audience"]["skipped"] == [{"user_id": "dora", "missing": ["first_name"]}]
    assert client.get(f"/v1/jobs/{job['id']}").json()["num_skipped"] == 1


def test_an_attribute_whose_default_is_read_is_told_by_how_many_and_a_misspelt_one_by_all(client: TestClient) -> None:
    prompt = "For {first_name|friend}, {first_name|you}: {frist_name|dear}, {user_id|x} {city|London}"
    everybody = {"prompt": prompt, "audience": {"all": True, "exclude": ["cleo"]}}
    give_profile(client, "emil", attributes={"first_name": "Emil", "city": "Rome"})

    rehearsed = client.post("/v1/jobs", json=everybody, params={"dry_run": "true"}).json()
    skipping = submitted(client, "{first_name}{city|London}", missing="skip")
    unasked = submitted(client, "For {user_id|x}.")

    assert rehearsed["num_items"] == 4
    assert rehearsed["audience"]["defaulted"] == [
        {"attribute": "frist_name", "num_users": 4},
        {"attribute": "city", "num_users": 3},
        {"attribute": "first_name", "num_users": 2},
    ]
    assert (skipping["counts"]["total"], skipping["num_skipped"]) == (4, 1)
    assert skipping["audience"]["defaulted"] == [{"attribute": "city", "num_users": 3}]
    assert unasked["audience"]["defaulted"] == []


def test_skipped_users_are_named_only_to_who_may_read_profiles(api: Api, client: TestClient) -> None:
    writer = api.client(Scope.JOBS_WRITE)

    unnamed = submitted(writer, "For {first_name}.", missing="skip")
    named = submitted(writer, "For {first_name}.", missing="skip", audience={"user_ids": ["ada", "dora"]})

    assert (unnamed["audience"]["num_skipped"], unnamed["audience"]["skipped"]) == (1, [])
    assert named["audience"]["skipped"] == [{"user_id": "dora", "missing": ["first_name"]}]


def test_an_answer_names_a_bounded_number_of_users_and_counts_all(
    api: Api, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.campaigns.items.MAX_USERS_NAMED", 1)
    monkeypatch.setattr("api.submissions.submission.MAX_USERS_NAMED", 1)

    give_profile(client, "emil", attributes={"nick": "E"})

    told = submitted(client, "{nick}{first_name|x}", missing="skip", audience={"all": True, "exclude": ["n1", "n2"]})

    assert (told["num_skipped"], told["counts"]["total"]) == (4, 1)
    assert len(told["audience"]["skipped"]) == 1
    assert (told["audience"]["num_unknown_excluded"], told["audience"]["unknown_excluded"]) == (2, ["n1"])


def test_a_campaign_that_would_skip_everybody_is_refused(api: Api, client: TestClient) -> None:
    (error,) = refused(client, "For {nick} and {city}.", missing="skip")

    assert (error["code"], error["pointer"]) == ("no_items", "/prompt")
    assert "nobody has all of `nick`, `city`" in error["message"]
    assert num_stored(api.database) == NOTHING


@pytest.mark.parametrize("prompt", ["Hi {{first_name}}", "Hi {{ first_name }}", "Hi {{first_name|friend}}"])
def test_doubled_braces_around_an_attribute_are_refused_with_what_may_be_meant(
    api: Api, client: TestClient, prompt: str
) -> None:
    (error,) = refused(client, prompt)

    assert (error["code"], error["pointer"]) == ("doubled_braces", "/prompt")
    assert "write `{first_name}` for each user's own" in error["message"]
    assert num_stored(api.database) == NOTHING


@pytest.mark.parametrize(
    ("prompt", "fields", "written"),
    [
        ("Hi {{first_name}}", {"literal_braces": True}, "Hi {first_name}"),
        ("Hi {{nickname}}", {}, "Hi {nickname}"),
        ("Hi {{{{first_name}}}}", {}, "Hi {{first_name}}"),
        ("Hi {{{first_name}}}", {}, "Hi {Ada}"),
        ("{{}}", {}, "{}"),
    ],
)
def test_braces_can_still_be_written(api: Api, client: TestClient, prompt: str, fields: Json, written: str) -> None:
    job = submitted(client, prompt, audience={"user_ids": ["ada"]}, **fields)

    assert items_of_job(api.database, accepted_id(job))[0].messages[0]["content"] == written
