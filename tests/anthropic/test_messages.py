"""Messages that are waited for, made with Anthropic's own client; a thread does the worker's part."""

import time
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic, AsyncAnthropic

from api.anthropic import messages as routes
from api.streams import one_answer
from tests.anthropic.conftest import Connect
from tests.anthropic.requests import params
from tests.openai.conftest import ALIAS, MODEL, Site
from tests.openai.test_at_once import a_worker, num_rows


def ask(client: Anthropic, content: object = "write about tea", **said: object) -> anthropic.types.Message:
    asked: Any = params(content, **said)
    message: anthropic.types.Message = client.messages.create(**asked)
    return message


def test_a_message_is_written_as_its_user_prefers_ahead_of_all_else_and_not_kept(
    site: Site, connect: Connect, tenant: str
) -> None:
    site.give_profile(tenant, "ada", "formal")
    client, before = connect(tenant), num_rows(site)

    with a_worker(site, reward=0.5) as claimed:
        message = ask(client, model=ALIAS, system="Be brief.", metadata={"user_id": "ada"})

    (item,) = claimed
    assert message.content[0].type == "text"
    assert (message.content[0].text, message.type, message.role) == ("WRITE ABOUT TEA", "message", "assistant")
    assert (message.model, message.stop_reason, message.stop_sequence) == (ALIAS, "end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    assert item.messages[0] == {"role": "system", "content": "Be brief."}
    assert item.preference["principles"] == [["formal", 1.0]]
    assert (item.sampling["temperature"], item.sampling["max_tokens"]) == (1.0, 50)
    assert message.model_extra is not None
    assert (message.model_extra["padserve"]["user_id"], message.model_extra["padserve"]["reward"]) == ("ada", 0.5)
    assert num_rows(site) == before


async def asked_async(url: str, key: str) -> str:
    async with AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        asked: Any = params()
        message = await client.messages.create(**asked)
    return str(message.content[0].text)


def test_the_asynchronous_and_the_beta_client_are_answered_too(site: Site, client: Anthropic) -> None:
    import asyncio  # noqa: PLC0415 - here alone

    with a_worker(site):
        assert asyncio.run(asked_async(site.url, client.api_key or "")) == "WRITE ABOUT TEA"
    with a_worker(site):
        asked: Any = params()
        assert client.beta.messages.create(**asked, betas=["files-api-2025-04-14"]).content[0].type == "text"


@pytest.mark.parametrize(
    ("outcome", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"stop_text": "END"}, "stop_sequence", "END"),
    ],
    ids=["by itself", "too long", "a stop sequence"],
)
def test_a_message_says_why_it_ends(
    site: Site, client: Anthropic, outcome: dict[str, Any], reason: str, sequence: str | None
) -> None:
    with a_worker(site, **outcome):
        message = ask(client, stop_sequences=["END", "STOP"])

    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_two_who_ask_the_same_get_answers_of_their_own_unless_they_say_a_seed(site: Site, client: Anthropic) -> None:
    seeds = []
    for said in ({}, {}, {"seed": 7}):
        with a_worker(site) as claimed:
            client.messages.create(**params(), extra_body=said)
        seeds.append(claimed[0].sampling["seed"])

    assert seeds[0] != seeds[1]
    assert seeds[2] == 7


def test_what_fails_is_told_as_whose_fault_it_is_and_whether_to_try_again(site: Site, client: Anthropic) -> None:
    with a_worker(site, error_code="prompt_too_long"), pytest.raises(anthropic.BadRequestError) as theirs:
        ask(client)
    with a_worker(site, error_code="worker_lost"), pytest.raises(anthropic.InternalServerError) as ours:
        ask(client)
    with a_worker(site, error_code="poisoned"), pytest.raises(anthropic.InternalServerError) as for_good:
        ask(client)

    assert (theirs.value.type, theirs.value.api_message) == ("invalid_request_error", "No.")
    assert (ours.value.type, ours.value.api_message, ours.value.status_code) == ("api_error", "No.", 500)
    assert "x-should-retry" not in ours.value.response.headers
    assert for_good.value.response.headers["x-should-retry"] == "false"


def test_an_answer_that_does_not_come_in_time_is_given_up_as_overloaded(
    site: Site, client: Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_answer, "PATIENCE_SECONDS", 0.2)
    before = num_rows(site)

    with pytest.raises(anthropic.InternalServerError) as late:
        ask(client)

    assert (type(late.value).__name__, late.value.type) == ("OverloadedError", "overloaded_error")
    assert late.value.response.headers["retry-after"] == "5"
    assert num_rows(site) == before


def test_a_client_that_goes_away_takes_its_message_with_it(site: Site, client: Anthropic) -> None:
    before = num_rows(site)

    with pytest.raises(anthropic.APITimeoutError):
        ask(client.with_options(timeout=0.5))

    until = time.monotonic() + 20
    while num_rows(site) != before and time.monotonic() < until:
        time.sleep(0.05)
    assert num_rows(site) == before


def test_a_wrong_message_is_refused_with_every_place_and_leaves_nothing(site: Site, client: Anthropic) -> None:
    before = num_rows(site)

    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, max_tokens=0, tools=[{"name": "x", "input_schema": {}}], extra_body={"temperature": 1.5})

    message = refused.value.api_message or ""
    for said in ("tools: Tools cannot be called here.", "max_tokens: Must be greater", "temperature: Must be"):
        assert said in message
    assert "`tools`" not in message
    errors = (refused.value.body or {})["error"]["details"]["errors"]  # type: ignore[index]
    assert {error["param"] for error in errors} == {"tools", "max_tokens", "temperature"}
    assert num_rows(site) == before


def test_a_model_that_there_is_not_is_named_with_those_that_there_are(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, model="claude-opus-4-1")

    assert refused.value.api_message == f"model: There is no model `claude-opus-4-1` here; there is `{MODEL}`."


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'"x"', b'{"model": "a", "model": "b"}', b"\xff", b"[" * 9999]
)
def test_a_body_that_is_no_message_is_refused(site: Site, client: Anthropic, body: bytes) -> None:
    headers = {"X-Api-Key": client.api_key or "", "Content-Type": "application/json"}

    answer = httpx.post(f"{site.url}/v1/messages", content=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_tokens_are_not_counted_where_no_right_answer_can_be_given(client: Anthropic) -> None:
    assert len(routes.router.routes) == 1
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "tea"}])

    assert missing.value.type == "not_found_error"
