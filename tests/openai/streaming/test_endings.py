"""Streamed answers that fail, are left, or are given up; read with OpenAI's own client."""

import threading
import time
from typing import Any

import openai
import pytest
from openai import OpenAI

from api.streams import one_answer
from tests.openai.conftest import MODEL, Site
from tests.openai.streaming.writing import MESSAGES, Writer, meanwhile, num_rows, wait_for_rows


def test_what_fails_before_its_first_text_is_a_status(client: OpenAI, writer: Writer) -> None:
    failed = {"finish_reason": None, "error_message": "No."}
    with (
        meanwhile(lambda: writer.save(writer.claim(), None, error_code="prompt_too_long", **failed)),
        pytest.raises(openai.BadRequestError),
    ):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    with (
        meanwhile(lambda: writer.save(writer.claim(), None, error_code="worker_lost", **failed)),
        pytest.raises(openai.InternalServerError),
    ):
        client.responses.create(model=MODEL, input="tea", stream=True)


def test_what_fails_behind_its_first_text_is_an_event(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, "Tea ")
        time.sleep(0.3)
        writer.save(item, None, finish_reason=None, error_code="poisoned", error_message="It died.")

    with meanwhile(write), pytest.raises(openai.APIError, match="It died") as failed:
        list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    with meanwhile(write), pytest.raises(openai.APIError, match="It died"):
        list(client.completions.create(model=MODEL, prompt="tea", stream=True))
    with meanwhile(write):
        events = list(client.responses.create(model=MODEL, input="tea", stream=True))

    assert failed.value.type == "server_error"
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None
    assert events[-1].response.error.message == "It died."


def test_an_answer_whose_job_is_cancelled_ends_with_an_error(site: Site, client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        writer.say(writer.claim(), "Tea ")
        time.sleep(0.3)
        site.end_everything()

    with meanwhile(write), pytest.raises(openai.APIError, match="not executed"):
        list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))


@pytest.mark.parametrize("has_begun", [True, False], ids=["within the text", "before any text"])
def test_a_client_that_stops_reading_takes_its_request_with_it(
    site: Site, client: OpenAI, writer: Writer, monkeypatch: pytest.MonkeyPatch, *, has_begun: bool
) -> None:
    monkeypatch.setattr(one_answer, "BEGIN_SECONDS", 0.1)
    before = num_rows(site)

    def write() -> None:
        item = writer.claim()
        if has_begun:
            writer.say(item, "Tea ")

    with meanwhile(write):
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        read = [next(stream) for _ in range(1 + has_begun)]
        stream.close()

    assert read[-1].choices[0].delta.content == ("Tea " if has_begun else "")
    wait_for_rows(site, before)


def test_while_nothing_is_written_the_stream_shows_signs_of_life(
    site: Site, client: OpenAI, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_answer, "BEGIN_SECONDS", 0.1)
    monkeypatch.setattr(one_answer, "HEARTBEAT_SECONDS", 0.1)
    body = {"model": MODEL, "messages": MESSAGES, "stream": True}

    def write() -> None:
        item = writer.claim()
        time.sleep(1)
        writer.save(item)

    with meanwhile(write), client.chat.completions.with_streaming_response.create(**body) as response:
        lines = list(response.iter_lines())

    assert response.headers["content-type"].startswith("text/event-stream")
    assert sum(line.startswith(":") for line in lines) > 3
    assert lines[-2] == "data: [DONE]"


def test_a_stream_in_which_nothing_comes_for_too_long_is_given_up(
    site: Site, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BEGIN_SECONDS", "HEARTBEAT_SECONDS", "PATIENCE_SECONDS"):
        monkeypatch.setattr(one_answer, name, 0.2)
    before = num_rows(site)

    with pytest.raises(openai.APIError, match="no answer within"):
        list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))

    wait_for_rows(site, before)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options/include_usage"),
        ({"stream": True, "stream_options": {"colour": True}}, "stream_options/colour"),
        ({"stream": True, "temperature": 3}, "temperature"),
    ],
    ids=str,
)
def test_a_wrong_wish_is_refused_before_anything_is_sent(
    site: Site, client: OpenAI, wrong: dict[str, Any], param: str
) -> None:
    before = num_rows(site)

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=wrong)

    assert str(refused.value.param).replace(".", "/") == param
    wait_for_rows(site, before)


def test_more_streams_than_the_api_has_threads_are_heard_over_one_connection(site: Site, writer: Writer) -> None:
    client = site.client(max_retries=0, timeout=60)
    num_streams = 50
    texts: dict[int, str] = {}

    def ask(number: int) -> None:
        chunks = client.completions.create(model=MODEL, prompt=f"tea {number}", stream=True)
        texts[number] = "".join(chunk.choices[0].text for chunk in chunks)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(num_streams)]
    for thread in threads:
        thread.start()
    for _ in range(num_streams):
        item = writer.claim()
        prompt = str(item.messages[-1]["content"])
        writer.say(item, prompt, " is ")
        writer.begin_again(item)
        writer.save(item, f"{prompt} is good")
    for thread in threads:
        thread.join()

    assert texts == {number: f"tea {number} is good" for number in range(num_streams)}
