"""What an item says of its sampling, its budget and its examples is checked, resolved and stored."""

import pytest
from starlette.testclient import TestClient

from domain.sampling import Sampling
from tests.api.conftest import Api
from tests.api.job_requests import Json, accepted, an_item, errors_of, give_profile, items_of_job, preference_of, submit


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"min_p": 1.0}, "less_than", "/min_p"),
        ({"repetition_penalty": 0}, "greater_than", "/repetition_penalty"),
        ({"presence_penalty": -2.1}, "greater_than_equal", "/presence_penalty"),
        ({"frequency_penalty": 2.1}, "less_than_equal", "/frequency_penalty"),
        ({"n": 0}, "greater_than_equal", "/n"),
        ({"n": 17}, "less_than_equal", "/n"),
        ({"min_tokens": -1}, "greater_than_equal", "/min_tokens"),
        ({"min_tokens": 20, "max_tokens": 10}, "sampling", ""),
        ({"logit_bias": {"x": 1}}, "string_pattern_mismatch", "/logit_bias/x"),
        ({"logit_bias": {"1": 101}}, "less_than_equal", "/logit_bias/1"),
        ({"logit_bias": [1]}, "dict_type", "/logit_bias"),
        ({"top_k": 0}, "greater_than_equal", "/top_k"),
        ({"k": 5, "top_k": 5}, "k_twice", ""),
        ({"logit_bias": {"260": 1}}, "logit_bias_out_of_range", "/logit_bias"),
        ({"chat_template_kwargs": {"tokenize": False}}, "reserved_template_argument", "/chat_template_kwargs/tokenize"),
        ({"chat_template_kwargs": {"bos_token": "x"}}, "reserved_template_argument", "/chat_template_kwargs/bos_token"),
        ({"chat_template_kwargs": {"mood": ["x"]}}, "template_argument", "/chat_template_kwargs/mood"),
        ({"chat_template_kwargs": {"mood": "x" * 1001}}, "string_too_long", "/chat_template_kwargs/mood"),
        ({"chat_template_kwargs": {"mood": "x\x00"}}, "control_character", "/chat_template_kwargs/mood"),
        ({"chat_template_kwargs": {"no name": 1}}, "string_pattern_mismatch", "/chat_template_kwargs/no name"),
        ({"max_kl": -0.1}, "greater_than_equal", "/max_kl"),
        ({"max_kl": 101}, "less_than_equal", "/max_kl"),
        ({"examples": [" "]}, "empty_example", "/examples/0"),
        ({"examples": ["x" * 2001]}, "string_too_long", "/examples/0"),
        ({"examples": [str(number) for number in range(17)]}, "too_long", "/examples"),
        ({"examples": ["a\x07"]}, "control_character", "/examples/0"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_place(
    client: TestClient, fields: Json, code: str, pointer: str
) -> None:
    give_profile(client)

    answer = submit(client, an_item(**fields))

    assert errors_of(answer) == [(code, f"/items/0{pointer}")]
    assert answer.json()["errors"][0]["message"].endswith(".")


def test_everything_that_is_stated_is_stored_as_the_worker_reads_it(api: Api, client: TestClient) -> None:
    give_profile(client)
    item = an_item(
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        min_tokens=3,
        n=4,
        logit_bias={"7": -100, "3": 1.5},
        chat_template_kwargs={"enable_thinking": False},
    )

    (stored,) = items_of_job(api.database, accepted(submit(client, item, defaults={"n": 2, "top_p": 0.9})))

    assert Sampling.from_body(stored.sampling) == Sampling(
        k=40,
        top_p=0.9,
        min_p=0.05,
        repetition_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        min_tokens=3,
        n=4,
        logit_bias=((3, 1.5), (7, -100.0)),
        template={"enable_thinking": False},
    )


def test_what_is_not_stated_is_left_to_the_model(api: Api, client: TestClient) -> None:
    give_profile(client)

    (stored,) = items_of_job(api.database, accepted(submit(client, an_item())))

    assert Sampling.from_body(stored.sampling) == Sampling()
    assert Sampling().k is None
    assert (Sampling().top_p, Sampling().min_p, Sampling().repetition_penalty) == (None, None, None)


def test_budget_and_examples_come_from_the_nearest_that_says_them(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "formal", method="contrast", max_kl=0.3, examples=["of the profile"])

    job_id = accepted(
        submit(
            client,
            an_item("profile"),
            an_item("item", max_kl=0.7, examples=["of the item"]),
            an_item("none", max_kl=100, examples=[]),
        )
    )
    of_defaults = accepted(submit(client, an_item(), defaults={"max_kl": 0.5, "examples": ["of the job"]}))

    stored = [
        preference_of(api.database, item) for job in (job_id, of_defaults) for item in items_of_job(api.database, job)
    ]
    assert [(body.get("max_kl"), body.get("examples")) for body in stored] == [
        (0.3, ["of the profile"]),
        (0.7, ["of the item"]),
        (None, None),
        (0.5, ["of the job"]),
    ]


def test_a_profile_gives_back_its_budget_and_its_examples(client: TestClient) -> None:
    give_profile(client, "ada", "formal", max_kl=0.3, examples=[" Dear all,\n\nbye "])
    give_profile(client, "bob", "formal")

    ada, bob = (client.get(f"/v1/profiles/{user}").json() for user in ("ada", "bob"))

    assert (ada["max_kl"], ada["examples"]) == (0.3, ["Dear all,\n\nbye"])
    assert (bob["max_kl"], bob["examples"]) == (None, [])


def test_a_budget_of_nothing_in_a_profile_is_a_budget(api: Api, client: TestClient) -> None:
    give_profile(client, "ada", "formal", method="contrast", max_kl=0)

    (item,) = items_of_job(api.database, accepted(submit(client, an_item())))

    assert client.get("/v1/profiles/ada").json()["max_kl"] == 0
    assert preference_of(api.database, item)["max_kl"] == 0


def test_examples_alone_steer(api: Api, client: TestClient) -> None:
    assert client.put("/v1/profiles/ada", json={"examples": ["One."], "method": "contrast"}).status_code == 201

    (item,) = items_of_job(api.database, accepted(submit(client, an_item())))

    assert preference_of(api.database, item)["method"] == "contrast"
