"""What a line asks for is what is decoded: parameters mean what they mean at OpenAI, and users have their profiles."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from sqlalchemy import select

from db.models import Item, Preference
from db.queries import keys
from domain.json_values import JsonObject
from domain.states import UnknownUsers
from tests.openai.conftest import MODEL, Site, a_site
from tests.openai.requests import CHAT, a_batch, a_line, errors_of, lines_of

COMPLETIONS, RESPONSES = "/v1/completions", "/v1/responses"
DEFAULTS = {"k": 0, "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 2048}


def items_of(site: Site, batch: Any) -> Sequence[Item]:  # noqa: ANN401 - the client's, with a field of ours
    assert batch.status == "in_progress", batch
    with site.database.reading() as session:
        job_id = uuid.UUID(batch.job_id)
        return session.scalars(select(Item).where(Item.job_id == job_id).order_by(Item.position)).all()


def preference_of(site: Site, item: Item) -> JsonObject:
    with site.database.reading() as session:
        return dict(
            session.scalars(select(Preference.body).where(Preference.hash == item.preference_hash)).first() or {}
        )


def test_what_is_not_said_is_what_it_is_at_openai(site: Site, client: OpenAI) -> None:
    first, second = items_of(site, a_batch(client, a_line("a"), a_line("b")))

    assert {name: first.sampling[name] for name in DEFAULTS} == DEFAULTS
    assert (first.sampling["n"], first.sampling["presence_penalty"], first.sampling["frequency_penalty"]) == (1, 0, 0)
    assert first.sampling["seed"] != second.sampling["seed"]


def test_what_is_said_is_passed_on(site: Site, client: OpenAI) -> None:
    said: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "n": 3,
        "presence_penalty": 1,
        "frequency_penalty": -1.5,
        "seed": 7,
        "max_completion_tokens": 50,
    }

    (item,) = items_of(site, a_batch(client, a_line(**said, stop="END", logit_bias={"5": -100})))

    expected = {**said, "max_tokens": 50, "stop": ["END"], "logit_bias": [[5, -100.0]]}
    del expected["max_completion_tokens"]
    assert {name: item.sampling[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", 5),
        ({"stop": ["a", "b"]}, "stop", ["a", "b"]),
        ({"seed": -1}, "seed", 2**63 - 1),
        ({"seed": -(2**63)}, "seed", 0),
        ({"top_k": 5}, "k", 5),
        ({"temperature": None, "stop": None, "tools": None, "logprobs": None}, "temperature", 1.0),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "template", {"enable_thinking": False}),
    ],
)
def test_other_ways_to_say_it(site: Site, client: OpenAI, said: dict[str, Any], name: str, value: object) -> None:
    line = a_line()
    line["body"].update(said)

    (item,) = items_of(site, a_batch(client, line))

    assert item.sampling[name] == value


def test_what_changes_nothing_is_passed_over(site: Site, client: OpenAI) -> None:
    harmless: dict[str, Any] = {
        "store": True,
        "service_tier": "flex",
        "stream": False,
        "logprobs": False,
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "prompt_cache_key": "x",
        "parallel_tool_calls": True,
    }

    assert len(items_of(site, a_batch(client, a_line(**harmless)))) == 1


def test_a_conversation_is_kept_in_its_turns(site: Site, client: OpenAI) -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "yes", "refusal": None, "tool_calls": None, "annotations": []},
        {"role": "user", "content": "go on"},
    ]

    (item,) = items_of(site, a_batch(client, a_line(messages=messages)))

    assert item.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "go on"},
    ]


@pytest.mark.parametrize(
    "named",
    [
        {"user": "ada"},
        {"safety_identifier": "ada"},
        {"metadata": {"user_id": "ada"}},
        {"user": "ada", "safety_identifier": "bob", "metadata": {"user_id": "bob"}},
    ],
)
def test_a_user_is_steered_by_the_profile(site: Site, tenant: str, named: dict[str, Any]) -> None:
    client = site.client(tenant)
    site.give_profile(tenant, "ada", "humor")

    (item,) = items_of(site, a_batch(client, a_line(**named)))

    assert (item.user_id, item.profile_version) == ("ada", 1)
    assert preference_of(site, item)["principles"] == [["humor", 1.0]]


def test_an_item_says_more_than_its_profile(site: Site, tenant: str) -> None:
    client = site.client(tenant)
    site.give_profile(tenant, "ada", "humor")
    said: dict[str, Any] = {"strength": 0.5, "method": "mixture", "max_kl": 0.1, "principles": ["formal"]}

    (item,) = items_of(site, a_batch(client, a_line(user="ada", **said)))

    preference = preference_of(site, item)
    assert {name: preference[name] for name in ("strength", "method", "max_kl")} == {
        "strength": 0.5,
        "method": "mixture",
        "max_kl": 0.1,
    }
    assert preference["principles"] == [["formal", 1.0]]


@pytest.mark.parametrize("form", [" Zoe\u0308 ", "\tZo\u00eb"])
@pytest.mark.parametrize("said", ["user", "safety_identifier", "metadata"])
def test_every_form_of_a_user_id_names_the_one_user(site: Site, tenant: str, form: str, said: str) -> None:
    client = site.client(tenant)
    site.give_profile(tenant, "Zo\u00eb", "formal")
    named: dict[str, Any] = {"metadata": {"user_id": form}} if said == "metadata" else {said: form}

    (item,) = items_of(site, a_batch(client, a_line(**named)))

    assert (item.user_id, item.profile_version) == ("Zo\u00eb", 1)


def test_who_has_no_profile_is_written_for_unguided(site: Site, client: OpenAI) -> None:
    nobody, stranger, guided = items_of(
        site, a_batch(client, a_line("a"), a_line("b", user="eve"), a_line("c", principles=["humor"]))
    )

    assert (nobody.user_id, nobody.profile_version) == ("", 0)
    assert (stranger.user_id, stranger.profile_version) == ("eve", 0)
    assert preference_of(site, nobody)["method"] == preference_of(site, stranger)["method"] == "none"
    assert preference_of(site, guided)["principles"] == [["humor", 1.0]]


@pytest.fixture(scope="module")
def strict_site(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = tmp_path_factory.mktemp("strict") / "padserve.db"
    file.write_bytes(migrated_sqlite_file.read_bytes())
    with a_site(f"sqlite:///{file}", unknown_users="refuse") as site:
        yield site
        for client in site.clients:
            client.close()


def test_who_has_no_profile_is_refused_where_the_setting_says_so(strict_site: Site, tenant: str) -> None:
    client = strict_site.client(tenant)
    strict_site.give_profile(tenant, "ada", "humor")

    assert errors_of(a_batch(client, a_line("a"), a_line("b", user="eve"), a_line("c", user="ada"))) == [
        ("user_required", "body.user", 1),
        ("unknown_user", "body.user", 2),
    ]
    assert a_batch(client, a_line(user="ada")).status == "in_progress"


def test_a_tenant_chooses_for_itself(strict_site: Site, site: Site, tenant: str) -> None:
    for each in (strict_site, site):
        each.give_profile(tenant, "ada", "humor")
    with strict_site.database.transaction() as session:
        assert keys.set_unknown_users(session, tenant, UnknownUsers.UNGUIDED)
    with site.database.transaction() as session:
        assert keys.set_unknown_users(session, tenant, UnknownUsers.REFUSE)

    assert a_batch(strict_site.client(tenant), a_line(user="eve")).status == "in_progress"
    assert a_batch(strict_site.client("another"), a_line(user="eve")).status == "failed"
    assert errors_of(a_batch(site.client(tenant), a_line(user="eve"))) == [("unknown_user", "body.user", 1)]
    with pytest.raises(BadRequestError, match="no profile"):
        site.client(tenant).chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Write."}], user="eve"
        )


def body_of_the_answer(site: Site, client: OpenAI, batch: Any, **outcome: Any) -> Any:  # noqa: ANN401 - JSON
    site.decode(1, **outcome)
    (line,) = lines_of(client, client.batches.retrieve(batch.id).output_file_id)
    assert line["response"]["status_code"] == 200
    return line["response"]["body"]


def test_several_answers_are_several_choices(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line(n=2))
    choices = (
        {"text": "one", "finish_reason": "stop", "num_completion_tokens": 1, "reward": None, "kl": None},
        {"text": "two", "finish_reason": "length", "num_completion_tokens": 3, "reward": None, "kl": None},
    )

    answer = ChatCompletion.model_validate(body_of_the_answer(site, client, batch, choices=choices))

    assert [(each.index, each.message.content, each.finish_reason) for each in answer.choices] == [
        (0, "one", "stop"),
        (1, "two", "length"),
    ]


def test_a_completion_has_the_shape_of_one(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, a_line(messages=None, url=COMPLETIONS, prompt=["tea is"]), endpoint=COMPLETIONS)
    (item,) = items_of(site, batch)
    assert item.messages == [{"role": "user", "content": "tea is"}]
    assert item.sampling["max_tokens"] == 16

    answer = Completion.model_validate(body_of_the_answer(site, client, batch))

    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "TEA IS",
        "stop",
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7


def test_a_response_has_the_shape_of_one(site: Site, client: OpenAI) -> None:
    asked: dict[str, Any] = {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "tea"}]}],
        "instructions": "brief",
    }
    line = a_line(messages=None, url=RESPONSES, max_output_tokens=9, **asked)
    batch = a_batch(client, line, endpoint=RESPONSES)
    (item,) = items_of(site, batch)
    assert item.messages == [{"role": "system", "content": "brief"}, {"role": "user", "content": "tea"}]
    assert item.sampling["max_tokens"] == 9

    answer = Response.model_validate(body_of_the_answer(site, client, batch, finish_reason="length"))

    assert (answer.output_text, answer.status, answer.model) == ("TEA", "incomplete", MODEL)
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)


def test_the_input_of_a_response_may_be_a_text(site: Site, client: OpenAI) -> None:
    (item,) = items_of(site, a_batch(client, a_line(messages=None, url=RESPONSES, input="tea"), endpoint=RESPONSES))

    assert item.messages == [{"role": "user", "content": "tea"}]
    assert CHAT != RESPONSES


def test_priority_is_padserves_own(site: Site, client: OpenAI) -> None:
    batch = a_batch(client, extra_body={"priority": "bulk"})

    job: Any = client.get(f"/jobs/{batch.model_dump()['job_id']}", cast_to=object)

    assert (job["priority"], job["completion_window"], job["metadata"]) == ("bulk", "1d", {})
    assert len(items_of(site, batch)) == 1
