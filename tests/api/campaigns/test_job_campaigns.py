"""A campaign is one item per profile in its audience, with the prompt filled in from that profile and nothing else."""

import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.campaigns.templates import TemplateError, parse_template
from tests.api.conftest import Api
from tests.api.job_requests import NOTHING, Json, accepted, errors_of, give_profile, items_of_job, num_stored

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,63}", fullmatch=True)
VALUES = st.dictionaries(NAMES, st.text(), min_size=1)


def a_campaign(client: TestClient, prompt: str = "Write for {first_name}.", **fields: object) -> Json:
    body = {"prompt": prompt, "audience": {"all": True}, **fields}
    answer = client.post("/v1/jobs", json=body)
    accepted(answer)
    return dict(answer.json())


def refusal(client: TestClient, prompt: str = "Write.", **fields: object) -> list[tuple[str, str]]:
    return errors_of(client.post("/v1/jobs", json={"prompt": prompt, "audience": {"all": True}, **fields}))


@pytest.fixture
def client(client: TestClient) -> TestClient:
    """A tenant with three users."""
    give_profile(client, "cleo", attributes={"first_name": "Cleo"}, tags=["beta"])
    give_profile(client, "ada", attributes={"first_name": "Ada", "city": "{user_id}"}, tags=["beta", "uk"])
    give_profile(client, "bob", attributes={"first_name": "Bob"}, tags=["uk"])
    return client


def written(api: Api, job: Json) -> list[tuple[str, object]]:
    items = items_of_job(api.database, accepted_id(job))
    return [(item.custom_id, item.messages[0]["content"]) for item in items]


def accepted_id(job: Json) -> uuid.UUID:
    return uuid.UUID(job["id"])


@pytest.mark.parametrize(
    ("audience", "users"),
    [
        ({"all": True}, ["ada", "bob", "cleo"]),
        ({"tags": ["uk"]}, ["ada", "bob"]),
        ({"tags": ["uk", "beta"]}, ["ada", "bob", "cleo"]),
        ({"user_ids": ["cleo", "ada"]}, ["cleo", "ada"]),
    ],
)
def test_every_profile_in_the_audience_gets_one_item(
    api: Api, client: TestClient, audience: Json, users: list[str]
) -> None:
    job = a_campaign(client, audience=audience)

    assert written(api, job) == [(user_id, f"Write for {user_id.capitalize()}.") for user_id in users]


def test_the_items_of_a_campaign_are_like_any_others(api: Api, client: TestClient) -> None:
    job = a_campaign(client, audience={"user_ids": ["ada"]}, defaults={"k": 3, "strength": 2}, metadata={"a": "b"})

    (item,) = items_of_job(api.database, accepted_id(job))
    assert (item.user_id, item.custom_id, item.profile_version, item.sampling["k"]) == ("ada", "ada", 1, 3)
    assert job["metadata"] == {"a": "b"}
    assert api.queue.published[0][1] == [job["id"]]


def test_doubled_braces_are_braces_and_values_are_never_expanded(api: Api, client: TestClient) -> None:
    job = a_campaign(client, "{{nickname}} {user_id} {{{city}}} }}{{", audience={"user_ids": ["ada"]})

    assert written(api, job) == [("ada", "{nickname} ada {{user_id}} }{")]


@pytest.mark.parametrize(
    "prompt",
    [
        "{first_name.__class__}",
        "{first_name[0]}",
        "{first_name!r}",
        "{first_name:>99}",
        "{first_name:}",
        "{ first_name }",
        "{}",
        "{0}",
        "{",
        "}",
        "{{}",
        "{first_name",
        "{first{name}}",
        "{früh}",
    ],
)
def test_anything_but_a_plain_name_is_refused(api: Api, client: TestClient, prompt: str) -> None:
    assert refusal(client, prompt) == [("placeholder", "/prompt")]
    assert num_stored(api.database) == NOTHING


def test_a_missing_attribute_names_every_user_who_lacks_it(api: Api, client: TestClient) -> None:
    body = {"prompt": "{first_name} of {city}, {zip}", "audience": {"all": True}}

    answer = client.post("/v1/jobs", json=body)

    assert errors_of(answer) == [("missing_attribute", "/prompt")] * 3
    assert [error["message"] for error in answer.json()["errors"]] == [
        "The profile of user `ada` has no attribute `zip`.",
        "The profile of user `bob` has no attribute `city`, `zip`.",
        "The profile of user `cleo` has no attribute `city`, `zip`.",
    ]
    assert num_stored(api.database) == NOTHING


def test_unknown_and_repeated_users_are_refused(client: TestClient) -> None:
    errors = refusal(client, audience={"user_ids": ["ada", "nobody", "ada"]})

    assert errors == [("unknown_user", "/audience/user_ids/1"), ("duplicate_custom_id", "/audience/user_ids/2")]


def test_an_audience_of_nobody_is_refused(client: TestClient) -> None:
    assert refusal(client, audience={"tags": ["nobody-has-this"]}) == [("no_items", "/audience/tags")]


@pytest.mark.parametrize(
    ("audience", "code", "pointer"),
    [
        ({}, "one_audience", "/audience"),
        ({"all": True, "tags": ["uk"]}, "one_audience", "/audience"),
        ({"all": False}, "literal_error", "/audience/all"),
        ({"tags": []}, "too_short", "/audience/tags"),
        ({"user_ids": []}, "too_short", "/audience/user_ids"),
        ({"user_id": "ada"}, "extra_forbidden", "/audience/user_id"),
        (None, "model_type", "/audience"),
    ],
)
def test_an_unclear_audience_is_refused(client: TestClient, audience: object, code: str, pointer: str) -> None:
    assert (code, pointer) in refusal(client, audience=audience)


def test_everything_wrong_with_a_campaign_is_named_at_once(client: TestClient) -> None:
    errors = refusal(client, "{", audience={"tags": []}, defaults={"k": 0}, colour="red")

    assert set(errors) == {
        ("placeholder", "/prompt"),
        ("too_short", "/audience/tags"),
        ("greater_than_equal", "/defaults/k"),
        ("extra_forbidden", "/colour"),
    }


def test_a_prompt_that_is_blank_or_too_long_once_it_is_filled_is_refused(api: Api, client: TestClient) -> None:
    api.settings = api.settings.model_copy(update={"max_prompt_characters": 20})
    give_profile(client, "dora", attributes={"first_name": "D" * 30})
    give_profile(client, "emil", attributes={"first_name": " "})

    errors = refusal(api.client(), "{first_name}")

    assert errors == [("prompt_too_long", "/prompt"), ("blank_prompt", "/prompt")]


def test_the_audience_is_of_the_caller_alone(api: Api, client: TestClient) -> None:
    assert refusal(api.client(tenant="rival")) == [("no_items", "/audience/all")]


@given(texts=st.lists(st.text(), min_size=1), values=VALUES, data=st.data())
def test_expansion_is_the_texts_with_the_values_between_them(
    texts: list[str], values: dict[str, str], data: st.DataObject
) -> None:
    names = [data.draw(st.sampled_from(sorted(values))) for _ in texts[1:]]
    escaped = [text.replace("{", "{{").replace("}", "}}") for text in texts]
    prompt = escaped[0] + "".join(f"{{{name}}}{text}" for name, text in zip(names, escaped[1:], strict=True))

    expanded = parse_template(prompt).expand(values)

    assert expanded == texts[0] + "".join(values[name] + text for name, text in zip(names, texts[1:], strict=True))


@given(prompt=st.text(alphabet="{}ab.![]0: \n"), values=st.just({"a": "1", "b": "2", "ab": "3", "ba": "4"}))
def test_what_is_accepted_means_what_python_would_make_of_it(prompt: str, values: dict[str, str]) -> None:
    try:
        template = parse_template(prompt)
    except TemplateError:
        return
    if not template.missing(values):
        assert template.expand(values) == string.Formatter().vformat(prompt, (), values)
