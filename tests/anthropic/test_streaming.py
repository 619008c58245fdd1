"""Messages that are streamed, read with Anthropic's own client; a thread does the worker's part, over a real Redis."""

import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from structlog.testing import capture_logs

from api.streams import one_answer
from tests.anthropic.requests import params
from tests.openai.conftest import MODEL, Site
from tests.openai.streaming.conftest import streaming, writer
from tests.openai.streaming.writing import TEXT, WORDS, Writer, meanwhile, num_rows, wait_for_rows

__all__ = ["streaming", "writer"]


@pytest.fixture
def site(streaming: Site) -> Iterator[Site]:
    with capture_logs():
        yield streaming
    streaming.end_everything()


def test_each_piece_comes_before_the_next_is_written(site: Site, client: Anthropic, writer: Writer) -> None:
    before = num_rows(site)
    read = threading.Semaphore(0)

    def write() -> None:
        item = writer.claim()
        for word in WORDS:
            writer.say(item, word)
            assert read.acquire(timeout=30)
        writer.save(item, stop_text="END", reward=0.5)

    asked: Any = params(stop_sequences=["END"])
    texts = []
    with meanwhile(write), client.messages.stream(**asked) as stream:
        for text in stream.text_stream:
            texts.append(text)
            read.release()
        message = stream.get_final_message()

    assert texts == list(WORDS)
    assert message.content[0].type == "text"
    assert (message.content[0].text, message.model, message.role) == (TEXT, MODEL, "assistant")
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    wait_for_rows(site, before)


def test_the_events_are_those_of_one_message_in_their_order(site: Site, client: Anthropic, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, *WORDS)
        writer.save(item, finish_reason="length")

    asked: Any = params(stream=True)
    with meanwhile(write):
        events = list(client.messages.create(**asked))

    kinds = [event.type for event in events if event.type != "content_block_delta"]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    start, delta = events[0], events[-2]
    assert start.type == "message_start"
    assert (start.message.content, start.message.stop_reason) == ([], None)
    assert start.message.id.startswith("msg_")
    assert delta.type == "message_delta"
    assert (delta.delta.stop_reason, delta.usage.output_tokens) == ("max_tokens", 4)


def test_an_answer_of_which_nothing_was_heard_comes_whole(site: Site, client: Anthropic, writer: Writer) -> None:
    asked: Any = params()

    with meanwhile(lambda: writer.save(writer.claim())), client.messages.stream(**asked) as stream:
        assert stream.get_final_text() == TEXT


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [("prompt_too_long", 400, "invalid_request_error"), ("worker_lost", 500, "api_error")],
)
def test_what_fails_before_its_first_text_has_a_status(
    client: Anthropic, writer: Writer, code: str, status: int, expected: str
) -> None:
    asked: Any = params(stream=True)

    def fail() -> None:
        writer.save(writer.claim(), text=None, error_code=code, error_message="No.")

    with meanwhile(fail), pytest.raises(anthropic.APIStatusError) as failed:
        client.messages.create(**asked)

    assert (failed.value.status_code, failed.value.type, failed.value.api_message) == (status, expected, "No.")


def test_what_fails_behind_its_first_text_is_an_event_that_the_client_raises(client: Anthropic, writer: Writer) -> None:
    read = threading.Event()

    def write() -> None:
        item = writer.claim()
        writer.say(item, "Tea ")
        assert read.wait(30)
        writer.save(item, text=None, error_code="worker_lost", error_message="No.")

    def listen() -> None:
        asked: Any = params()
        with client.messages.stream(**asked) as stream:
            for _ in stream.text_stream:
                read.set()

    with meanwhile(write), pytest.raises(anthropic.APIStatusError) as failed:
        listen()

    assert (failed.value.type, failed.value.api_message) == ("api_error", "No.")
    body: Any = failed.value.body
    assert body["request_id"] == failed.value.response.headers["request-id"]


def test_a_stream_shows_that_it_is_alive(
    site: Site, client: Anthropic, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_answer, "BEGIN_SECONDS", 0.05)
    monkeypatch.setattr(one_answer, "HEARTBEAT_SECONDS", 0.05)
    seen = threading.Event()

    def write() -> None:
        item = writer.claim()
        assert seen.wait(30)
        writer.save(item)

    headers = {"X-Api-Key": client.api_key or ""}
    request = {"json": params(stream=True), "headers": headers, "timeout": 30}
    pings = 0
    with meanwhile(write), httpx.stream("POST", f"{site.url}/v1/messages", **request) as answer:  # type: ignore[arg-type] # by name
        for line in answer.iter_lines():
            pings += line == "event: ping"
            if pings > 2:
                seen.set()

    assert pings > 2


def test_a_reader_that_goes_away_takes_its_message_with_it(site: Site, client: Anthropic, writer: Writer) -> None:
    before = num_rows(site)
    asked: Any = params()

    with meanwhile(lambda: writer.say(writer.claim(), "Tea ")), client.messages.stream(**asked) as stream:
        assert next(iter(stream.text_stream)) == "Tea "

    wait_for_rows(site, before)


def test_stream_is_true_or_false(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(**params(), extra_body={"stream": "yes"})

    assert refused.value.api_message == "stream: Must be true or false."
