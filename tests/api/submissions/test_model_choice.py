"""Which model a job is for, and what is refused at submission because that model cannot do it."""

import pytest
from starlette.testclient import TestClient

from domain.states import WorkerState
from tests.api.conftest import Api
from tests.api.job_requests import Json, accepted, an_item, errors_of, give_profile, items_of_job, submit, submit_lines
from tests.builders import a_description, a_model
from worker.queue import queue_name

FIRST, SECOND, THIRD = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def api(api: Api) -> Api:
    """Without the model that other tests have."""
    api.forget_models()
    return api


@pytest.fixture
def client(api: Api) -> TestClient:
    client = api.client()
    give_profile(client)
    return client


def model_of(client: TestClient, **options: str) -> tuple[str, str]:
    """Name and digest of the model that a job is pinned to."""
    answer = client.post("/v1/jobs", json={"items": [an_item()], **options})
    accepted(answer)
    job: Json = answer.json()
    return job["model"], job["model_digest"]


def test_before_any_model_is_known_a_job_is_asked_to_come_again(api: Api, client: TestClient) -> None:
    nobody = submit(client, an_item())
    api.announce("demo")
    loading = submit(client, an_item())

    assert (nobody.status_code, nobody.json()["code"]) == (503, "no_model")
    assert "No worker is running." in nobody.json()["detail"]
    assert "still loading" in loading.json()["detail"]
    assert int(loading.headers["Retry-After"]) > 0


def test_an_unnamed_job_is_for_the_only_model_that_is_served(api: Api, client: TestClient) -> None:
    api.serve("gone", a_description(FIRST))
    api.stop_workers()
    api.serve("demo", a_description(SECOND))

    assert model_of(client) == ("demo", SECOND)


def test_an_unnamed_job_waits_for_the_only_model_that_is_known_and_wakes_nobody(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    api.stop_workers()

    assert model_of(client) == ("demo", FIRST)
    assert api.queue.published == []


@pytest.mark.parametrize("served", [True, False])
def test_an_unnamed_job_is_refused_with_the_list_where_there_are_several(
    api: Api, client: TestClient, *, served: bool
) -> None:
    api.serve("demo", a_description(FIRST))
    api.serve("other", a_description(SECOND))
    if not served:
        api.stop_workers()

    refused = submit(client, an_item())

    assert errors_of(refused) == [("model_required", "/model")]
    assert "`demo`, `other`" in refused.json()["errors"][0]["message"]


def test_two_workers_with_the_same_model_are_one_choice(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    api.serve("renamed", a_description(FIRST))

    assert model_of(client)[1] == FIRST


@pytest.mark.parametrize("asked", ["other", "latest", f"other@{SECOND[:8]}", f"latest@{SECOND}", "OTHER@BBBBBBBB"])
def test_a_job_names_its_model_by_name_alias_or_digest_and_wakes_its_workers(
    api: Api, client: TestClient, asked: str
) -> None:
    api.serve("demo", a_description(FIRST))
    api.serve("other", a_description(SECOND), "latest", "OTHER")

    assert model_of(client, model=asked) == ("other", SECOND)
    assert api.queue.queues == [queue_name(SECOND)]


def test_a_name_goes_before_an_alias(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    api.serve("other", a_description(SECOND), "demo")

    assert model_of(client, model="demo") == ("demo", FIRST)


def test_a_name_with_an_at_sign_is_a_name(api: Api, client: TestClient) -> None:
    api.serve("demo@aaaaaaaa", a_description(SECOND))
    api.serve("demo", a_description(FIRST))

    assert model_of(client, model="demo@aaaaaaaa") == ("demo@aaaaaaaa", SECOND)


@pytest.mark.parametrize("asked", ["unknown", "", "demo@bbbbbbbb", f"demo@{FIRST[:7]}", "@", "demo@"])
def test_an_unknown_model_is_refused_with_those_there_are(api: Api, client: TestClient, asked: str) -> None:
    api.serve("demo", a_description(FIRST))

    refused = submit(client, an_item(), model=asked)
    in_lines = submit_lines(client, {"model": asked}, an_item())

    assert errors_of(refused) == errors_of(in_lines) == [("unknown_model", "/model")]
    assert in_lines.json()["errors"][0]["line"] == 1
    assert "`demo`" in refused.json()["errors"][0]["message"]


def test_two_models_that_are_served_under_one_name_are_told_apart_by_their_digests(
    api: Api, client: TestClient
) -> None:
    api.serve("checkpoint-500", a_description(FIRST))
    api.serve("checkpoint-500", a_description(SECOND))

    refused = submit(client, an_item(), model="checkpoint-500")

    assert (refused.status_code, refused.json()["code"]) == (409, "model_ambiguous")
    assert "`checkpoint-500@aaaaaaaa`" in refused.json()["detail"]
    assert "`checkpoint-500@bbbbbbbb`" in refused.json()["detail"]
    assert "`checkpoint-500@aaaaaaaa`" in submit(client, an_item()).json()["errors"][0]["message"]
    assert model_of(client, model="checkpoint-500@aaaaaaaa") == ("checkpoint-500", FIRST)


def test_a_name_means_the_model_that_is_served_under_it_not_one_before(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    api.stop_workers()
    api.serve("demo", a_description(SECOND))

    assert model_of(client, model="demo") == ("demo", SECOND)
    assert model_of(client, model="demo@aaaaaaaa") == ("demo", FIRST)


def test_a_job_whose_model_is_gone_says_so_and_can_be_given_to_another(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    job_id = accepted(submit(client, an_item()))
    api.stop_workers()
    api.serve("demo", a_description(SECOND))
    waiting = client.get(f"/v1/jobs/{job_id}").json()
    api.queue.queues.clear()

    answer = client.post(f"/v1/jobs/{job_id}/readdress", json={"model": "demo"})

    assert waiting["waiting_reason"] == "No worker serves demo@aaaaaaaa; a worker serves another model under that name."
    assert (answer.status_code, answer.json()["model_digest"]) == (200, SECOND)
    assert [item.model_digest for item in items_of_job(api.database, job_id)] == [SECOND]
    assert api.queue.queues == [queue_name(SECOND)]


def test_a_job_is_not_given_to_a_model_that_cannot_steer_its_items(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    job_id = accepted(submit(client, an_item(method="pad")))
    api.serve("base", a_description(SECOND, has_policy=False))

    refused = client.post(f"/v1/jobs/{job_id}/readdress", json={"model": "base"})

    assert (refused.status_code, "`pad`" in refused.json()["detail"]) == (409, True)
    assert refused.json()["errors"][0]["pointer"] == "/items/0/method"
    assert client.get(f"/v1/jobs/{job_id}").json()["model_digest"] == FIRST


def test_a_method_is_judged_by_the_model_that_the_job_is_for(api: Api, client: TestClient) -> None:
    api.serve("with", a_description(FIRST))
    api.serve("without", a_description(SECOND, has_policy=False))

    accepted(submit(client, an_item(method="pad"), model="with"))
    refused = submit(client, an_item(method="pad"), model="without")

    assert errors_of(refused) == [("policy_required", "/items/0/method")]
    assert "`without`" in refused.json()["errors"][0]["message"]


def test_what_cannot_fit_the_model_is_refused_with_what_to_change(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST, max_length=512))  # a token a byte, and 10 of the template

    own = submit(client, an_item(prompt="hi", principles=[], max_tokens=4096))
    everybodys = submit(client, an_item(prompt="hi", principles=[]), defaults={"max_tokens": 501})
    long = submit(client, an_item(prompt="x" * 600, principles=[]))

    assert errors_of(own) == [("max_tokens_too_large", "/items/0/max_tokens")]
    assert own.json()["errors"][0]["message"] == (
        "`max_tokens` 4096 does not fit: `demo` takes 512 tokens of prompt and answer together, and this prompt needs "
        "at least 12; lower `max_tokens` to at most 500."
    )
    assert errors_of(everybodys) == [("max_tokens_too_large", "/items/0")]
    accepted(submit(client, an_item(prompt="hi", principles=[]), defaults={"max_tokens": 500}))
    assert errors_of(long) == [("prompt_too_long", "/items/0/prompt")]
    assert "at least 610 tokens" in long.json()["errors"][0]["message"]


def test_a_bias_of_a_token_that_the_model_lacks_is_refused_at_its_place(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST, vocab_size=260))

    own = submit(client, an_item(logit_bias={"259": 1, "260": 1}))
    everybodys = submit(client, an_item(), defaults={"logit_bias": {"99999": -100}})

    assert errors_of(own) == [("logit_bias_out_of_range", "/items/0/logit_bias")]
    assert own.json()["errors"][0]["message"] == "`logit_bias` names token 260, and `demo` has tokens 0 to 259."
    assert errors_of(everybodys) == [("logit_bias_out_of_range", "/items/0")]
    accepted(submit(client, an_item(logit_bias={"259": 1})))


@pytest.mark.parametrize("prompt", ["hi" + " " * 900, "e\u0301" * 200, "\u1112\u1161\u11ab" * 140])
def test_white_space_that_templates_trim_and_letters_that_tokenizers_compose_are_not_counted(
    api: Api, client: TestClient, prompt: str
) -> None:
    api.serve("demo", a_description(FIRST, max_length=512))

    accepted(submit(client, an_item(prompt=prompt, max_tokens=10)))


A_TURN = {"role": "user", "content": "hi"}
AN_ANSWER = {"role": "assistant", "content": "x" * 100}


@pytest.mark.parametrize(
    ("stated", "least"),
    [
        ({"messages": [{"role": "system", "content": "x" * 50}, A_TURN, AN_ANSWER, A_TURN]}, 10 + 50 + 104 + 2 * 3),
        ({"method": "prompt", "principles": ["be formal", "é" * 10], "prompt": "hi"}, 10 + 2 + 8 + 20),
        ({"method": "mixture", "principles": ["be formal", "é" * 10], "prompt": "hi"}, 10 + 2 + 20),
        ({"method": "none", "principles": ["be formal"], "examples": ["y" * 40], "prompt": "hi"}, 10 + 2),
        ({"method": "contrast", "principles": ["short"], "examples": ["y" * 40] * 2, "prompt": "hi"}, 57 + 2 * 3),
        ({"method": "contrast", "principles": ["short"], "examples": ["y" * 40, "z" * 40], "prompt": "hi"}, 97 + 4 * 3),
    ],
)
def test_every_turn_and_what_is_shown_of_the_preference_is_counted(
    api: Api, client: TestClient, stated: Json, least: int
) -> None:
    api.serve("demo", a_description(FIRST, max_length=300, num_turn_tokens=3))  # a token a byte, and 10 of the template
    plain: Json = {"principles": [], "method": "none"}
    item = an_item(prompt=None) | plain | stated

    refused = submit(client, item | {"max_tokens": 301 - least})

    assert errors_of(refused) == [("max_tokens_too_large", "/items/0/max_tokens")]
    assert f"at least {least};" in refused.json()["errors"][0]["message"]
    accepted(submit(client, item | {"max_tokens": 300 - least}))


def test_a_principle_that_alone_is_too_long_is_named_among_what_is(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST, max_length=300))

    refused = submit(client, an_item(prompt="hi", method="prompt", principles=["x" * 400]))

    assert errors_of(refused) == [("prompt_too_long", "/items/0/prompt")]
    assert "The prompt, with what is shown of the preference, has at least" in refused.json()["errors"][0]["message"]


def test_turns_that_a_template_may_cut_and_items_with_arguments_of_their_own_are_not_counted(
    api: Api, client: TestClient
) -> None:
    api.serve("demo", a_description(FIRST, max_length=200, num_turn_tokens=3))
    thinking = {"role": "assistant", "content": "<think>" + "x" * 300 + "</think>hm"}
    long = {"role": "assistant", "content": "x" * 300}

    accepted(submit(client, an_item(prompt=None, messages=[A_TURN, thinking, A_TURN])))
    own = {"keep_history": False}
    accepted(submit(client, an_item(prompt=None, messages=[A_TURN, long, A_TURN], chat_template_kwargs=own)))
    refused = submit(client, an_item(prompt=None, messages=[A_TURN, long, A_TURN]))

    assert errors_of(refused) == [("prompt_too_long", "/items/0/messages")]


def test_a_job_is_not_given_to_a_model_that_its_open_items_do_not_fit(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST))
    items = [
        an_item("fits"),
        an_item("long", prompt="x" * 200),
        an_item("answer", prompt="hi", max_tokens=120),
        an_item("bias", logit_bias={"259": 1}),
    ]
    job_id = accepted(submit(client, *items, defaults={"max_tokens": 16}))
    api.serve("small", a_description(SECOND, max_length=128, vocab_size=200))

    refused = client.post(f"/v1/jobs/{job_id}/readdress", json={"model": "small"})
    at_submission = submit(client, *items, defaults={"max_tokens": 16}, model="small")

    assert refused.status_code == 409
    found = [(error["code"], error["pointer"]) for error in refused.json()["errors"]]
    assert found == [
        ("prompt_too_long", "/items/1"),
        ("max_tokens_too_large", "/items/2/max_tokens"),
        ("logit_bias_out_of_range", "/items/3/logit_bias"),
    ]
    assert [code for code, _ in errors_of(at_submission)] == [code for code, _ in found]
    assert refused.json()["num_errors"] == 3
    assert "`/items/1`" in refused.json()["detail"]
    assert client.get(f"/v1/jobs/{job_id}").json()["model_digest"] == FIRST


def test_of_a_template_unknown_the_last_turn_alone_is_counted_and_of_an_odd_tokenizer_none_is(
    api: Api, client: TestClient
) -> None:
    api.serve("demo", a_description(FIRST, max_length=512, longest_token_bytes=0))
    turns = [{"role": "assistant", "content": "<think>" + "x" * 600}, {"role": "user", "content": "hi"}]

    accepted(submit(client, an_item(prompt="x" * 600)))
    api.serve("demo", a_description(FIRST, max_length=512))

    accepted(submit(client, an_item(prompt=None, messages=turns)))


@pytest.mark.parametrize(("max_length", "max_tokens"), [(512, 128), (64, 32), (2, 1)])
def test_what_nobody_has_said_fits_a_small_model(
    api: Api, client: TestClient, max_length: int, max_tokens: int
) -> None:
    api.serve("demo", a_description(FIRST, max_length=max_length, num_template_tokens=0))

    job_id = accepted(submit(client, an_item(prompt="h", principles=[])))

    assert [item.sampling["max_tokens"] for item in items_of_job(api.database, job_id)] == [max_tokens]


def test_the_models_registration_says_what_nobody_else_does(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST, has_policy=False, strength=0.25))

    job = submit(client, an_item("a"), an_item("b", strength=2.0))

    hashes = {item.preference_hash for item in items_of_job(api.database, accepted(job))}
    assert len(hashes) == 2


def test_feedback_is_for_the_model_that_it_names_with_a_policy_or_without(api: Api, client: TestClient) -> None:
    give_profile(client, "bob", "formal", "playful", learn=True)
    pairs = [{"prompt": "tea", "chosen": f"good {number}", "rejected": f"bad {number}"} for number in range(7)]
    api.serve("without", a_description(FIRST, has_policy=False))
    api.serve("with", a_description(SECOND))

    answers = [
        client.post("/v1/profiles/bob/feedback", json={"pairs": [*pairs[:5], pair], "model": model})
        for pair, model in zip(pairs[5:], ("with", "without"), strict=True)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert api.queue.queues == [queue_name(SECOND), queue_name(FIRST)]


def test_every_model_is_listed_with_what_it_can_do_and_who_serves_it(api: Api, client: TestClient) -> None:
    api.serve("demo", a_description(FIRST, has_policy=False, max_kl=0.5))
    api.stop_workers()
    api.serve("demo", a_description(SECOND), "latest")
    a_model(api.database, "other", a_description(THIRD), state=WorkerState.STOPPED)
    api.announce("other")

    models = client.get("/v1/models").json()

    assert models["object"] == "list"
    assert [(model["id"], model["state"]) for model in models["data"]] == [
        ("demo", "ready"),
        ("demo@aaaaaaaa", "gone"),
        ("other", "loading"),
    ]
    served, gone, _ = models["data"]
    assert (served["object"], served["owned_by"], served["aliases"]) == ("model", "padserve", ["latest"])
    assert (gone["methods"], gone["default_method"]) == (
        ["none", "prompt", "mixture", "contrast"],
        "contrast",
    )
    assert (gone["policy"], gone["max_kl"], gone["max_length"], gone["digest"]) == (False, 0.5, 512, FIRST)
    for name in ("demo", "latest", "demo@bbbbbbbb"):
        assert client.get(f"/v1/models/{name}").json() == served
    assert client.get("/v1/models/demo@aaaaaaaa").json() == gone
    assert client.get("/v1/models/unknown").status_code == 404


def test_without_a_worker_the_list_is_empty(client: TestClient) -> None:
    empty: dict[str, object] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert client.get("/v1/models").json() == empty
