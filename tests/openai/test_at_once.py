"""Requests that wait for their answer, made with OpenAI's own client; a thread does the worker's part."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import openai
import pytest
from openai import OpenAI
from sqlalchemy import func, select

from api.openai import at_once
from api.openai.lines import read_body
from api.streams import one_answer, passing_jobs
from db.models import Item, Job, Result
from domain.priorities import Priority
from tests.openai.conftest import ALIAS, MODEL, Site

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "write about tea"}]


@contextmanager
def a_worker(site: Site, **fields: Any) -> Iterator[list[Any]]:  # noqa: ANN401 - as `Site.decode` takes them
    """Decodes one item as soon as there is one; gives what it claimed."""
    claimed: list[Any] = []

    def work() -> None:
        until = time.monotonic() + 30
        while not claimed and time.monotonic() < until:
            with site.database.reading() as session:
                waiting = select(Job.priority).where(Job.finished_at.is_(None), Job.num_queued > 0)
                priorities = session.scalars(waiting).all()
            if priorities:
                assert set(priorities) == {Priority.INTERACTIVE}
                claimed.extend(site.decode(1, **fields))
            time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield claimed
    finally:
        thread.join()


def num_rows(site: Site) -> list[int]:
    with site.database.reading() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in (Job, Item, Result)]


def test_a_conversation_is_answered_as_its_user_prefers_ahead_of_all_else_and_not_kept(site: Site, tenant: str) -> None:
    site.give_profile(tenant, "ada", "formal")
    before = num_rows(site)

    with a_worker(site, reward=0.5) as claimed:
        answer = site.client(tenant).chat.completions.create(model=ALIAS, messages=MESSAGES, user="ada")

    (item,) = claimed
    assert answer.choices[0].message.content == "WRITE ABOUT TEA"
    assert (answer.object, answer.choices[0].finish_reason) == ("chat.completion", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 4)
    assert item.preference["principles"] == [["formal", 1.0]]
    assert (item.sampling["temperature"], answer.model_extra["padserve"]["user_id"]) == (1.0, "ada")  # type: ignore[index]
    assert num_rows(site) == before


def test_completions_and_responses_are_answered_too(site: Site, client: OpenAI) -> None:
    with a_worker(site):
        completion = client.completions.create(model=MODEL, prompt="write about tea")
    with a_worker(site):
        response = client.responses.create(model=MODEL, input="write about tea")

    assert completion.choices[0].text == "WRITE ABOUT TEA"
    assert response.output_text == "WRITE ABOUT TEA"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"model": "unknown"}, "model"),
        ({"extra_body": {"tone": "kind"}}, "tone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_with_the_name_of_the_parameter_and_leaves_nothing(
    site: Site, client: OpenAI, wrong: dict[str, Any], param: str
) -> None:
    before = num_rows(site)

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **wrong})

    assert refused.value.param == param
    assert f"/{param}: `{param}`: " not in str(refused.value)
    assert num_rows(site) == before


def test_what_fails_is_told_as_whose_fault_it_is(site: Site, client: OpenAI) -> None:
    with a_worker(site, error_code="prompt_too_long"), pytest.raises(openai.BadRequestError) as theirs:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
    with a_worker(site, error_code="worker_lost"), pytest.raises(openai.InternalServerError) as ours:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert (theirs.value.body["message"], ours.value.code) == ("No.", "server_error")  # type: ignore[index]


def test_an_answer_that_does_not_come_in_time_is_given_up_and_nothing_of_it_is_left(
    site: Site, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_answer, "PATIENCE_SECONDS", 0.2)
    before = num_rows(site)

    with pytest.raises(openai.InternalServerError) as late:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert (late.value.status_code, late.value.response.headers["retry-after"]) == (503, "5")
    assert num_rows(site) == before


def test_a_client_that_goes_away_takes_its_request_with_it(site: Site, client: OpenAI) -> None:
    before = num_rows(site)

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(model=MODEL, messages=MESSAGES)

    until = time.monotonic() + 20
    while num_rows(site) != before and time.monotonic() < until:
        time.sleep(0.05)
    assert num_rows(site) == before


def test_a_request_for_which_no_worker_can_be_woken_leaves_nothing_behind(
    site: Site, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(passing_jobs, "make_known", fail)
    before = num_rows(site)

    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)

    assert num_rows(site) == before


def test_many_who_wait_share_one_look_and_each_gets_its_own_answer(site: Site, client: OpenAI) -> None:
    texts = [f"write about tea {number}" for number in range(6)]
    answers: dict[str, str | None] = {}

    def ask(text: str) -> None:
        messages = cast("Any", [{"role": "user", "content": text}])
        answers[text] = client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for _ in texts:
        with a_worker(site):
            pass
    for thread in threads:
        thread.join()

    assert answers == {text: text.upper() for text in texts}


def test_a_body_is_read_beside_the_loop_that_answers_everybody(client: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[object] = []

    def read(*given: Any) -> Any:  # noqa: ANN401 - as `read_body` has it
        loops.append(asyncio._get_running_loop())  # noqa: SLF001 - None where there is none, in place of an error
        return read_body(*given)

    monkeypatch.setattr(at_once, "read_body", read)

    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])

    assert loops == [None]
