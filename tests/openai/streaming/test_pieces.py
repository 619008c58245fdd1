"""Answers that are streamed, piece by piece, read with OpenAI's own client; a thread does the worker's part."""

import threading
import time

import openai
import pytest
from openai import OpenAI

from tests.openai.conftest import ALIAS, MODEL, Site
from tests.openai.streaming.writing import MESSAGES, TEXT, WORDS, Writer, meanwhile, num_rows, wait_for_rows


def test_each_piece_of_a_conversations_answer_comes_before_the_next_is_written(
    site: Site, client: OpenAI, writer: Writer
) -> None:
    before = num_rows(site)
    read = threading.Semaphore(0)

    def write() -> None:
        item = writer.claim()
        for word in WORDS:
            writer.say(item, word)
            assert read.acquire(timeout=20), "the piece has not come"
        writer.save(item)

    texts, chunks = [], []
    with meanwhile(write):
        for chunk in client.chat.completions.create(model=ALIAS, messages=MESSAGES, stream=True):
            chunks.append(chunk)
            if chunk.choices[0].delta.content:
                texts.append(chunk.choices[0].delta.content)
                read.release()

    assert tuple(texts) == WORDS
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert (chunks[0].object, chunks[0].model, chunks[0].usage) == ("chat.completion.chunk", ALIAS, None)
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["padserve"]["user_id"] is None
    wait_for_rows(site, before)


def test_the_last_chunk_counts_the_tokens_where_that_is_asked_for(client: OpenAI, writer: Writer) -> None:
    with meanwhile(lambda: writer.save(writer.claim())):
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
    with meanwhile(lambda: writer.save(writer.claim())):
        completion = list(
            client.completions.create(model=MODEL, prompt="tea", stream=True, stream_options={"include_usage": True})
        )

    for usage in (chunks[-1].usage, completion[-1].usage):
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 4, 7)
    assert (chunks[-1].choices, completion[-1].choices) == ([], [])
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


def test_a_completion_is_streamed(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, *WORDS)
        writer.save(item, finish_reason="length")

    with meanwhile(write):
        chunks = list(client.completions.create(model=MODEL, prompt="tea", stream=True))

    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
    assert (chunks[0].object, chunks[-1].choices[0].finish_reason) == ("text_completion", "length")


def test_a_response_is_streamed_in_the_events_that_its_clients_know(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, WORDS[0])
        time.sleep(0.2)
        writer.say(item, *WORDS[1:])
        writer.save(item)

    with meanwhile(write):
        events = list(client.responses.create(model=MODEL, input="tea", stream=True))

    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[4:-4] == ["response.output_text.delta"] * len(deltas)
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in deltas) == TEXT
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == TEXT
    assert events[0].type == "response.created"
    assert (events[0].response.id, events[0].response.status) == (events[-1].response.id, "in_progress")


def test_the_clients_own_helpers_put_the_pieces_together(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, *WORDS)
        writer.save(item)

    with meanwhile(write), client.chat.completions.stream(model=MODEL, messages=MESSAGES) as chat:
        completion = chat.get_final_completion()
    with meanwhile(write), client.responses.stream(model=MODEL, input="tea") as stream:
        response = stream.get_final_response()

    assert completion.choices[0].message.content == TEXT
    assert response.output_text == TEXT


def test_a_response_that_was_cut_off_says_so(client: OpenAI, writer: Writer) -> None:
    with meanwhile(lambda: writer.save(writer.claim(), finish_reason="length")):
        events = list(client.responses.create(model=MODEL, input="tea", stream=True))

    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details is not None
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


def test_each_of_several_answers_has_its_index(client: OpenAI, writer: Writer) -> None:
    texts = ["one two", "three", "four five six"]

    def write() -> None:
        item = writer.claim()
        for choice, text in enumerate(texts):
            writer.say(item, text[:3], text[3:5], choice=choice)
        choices = tuple({"text": text, "finish_reason": "stop"} for text in texts)
        writer.save(item, texts[0], choices=choices)

    with meanwhile(write):
        chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, n=3, stream=True))

    joined = ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        joined[choice.index] += choice.delta.content or ""
    assert joined == texts
    assert [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason] == [0, 1, 2]


def test_what_was_not_heard_comes_with_the_result(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, "Tea ")
        writer._said[item.attempt, 0] += "is "  # noqa: SLF001 - lost on its way
        writer.say(item, "good")
        writer.save(item)

    with meanwhile(write):
        chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Tea ", "is good 🫖.", None]


def test_an_answer_that_is_begun_again_says_nothing_twice(client: OpenAI, writer: Writer) -> None:
    def write() -> None:
        item = writer.claim()
        writer.say(item, "Tea ", "is ")
        writer.begin_again(item)
        writer.say(item, "Te", "a is go", "od")
        writer.save(item)

    with meanwhile(write):
        chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT


@pytest.mark.parametrize("is_heard", [True, False], ids=["while it grows", "in the result"])
def test_an_answer_that_comes_out_differently_when_it_is_begun_again_ends_with_an_error(
    site: Site, client: OpenAI, writer: Writer, *, is_heard: bool
) -> None:
    before, texts, has_read = num_rows(site), list[str](), threading.Event()

    def write() -> None:
        item = writer.claim()
        writer.say(item, "Tea ", "is ")
        assert has_read.wait(20)
        writer.begin_again(item)
        if is_heard:
            writer.say(item, "Coffee")
        else:
            writer.save(item, "Coffee")

    def read() -> None:
        for chunk in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            texts.append(chunk.choices[0].delta.content or "")
            if "".join(texts) == "Tea is ":
                has_read.set()

    with meanwhile(write), pytest.raises(openai.APIError, match="differently") as changed:
        read()

    assert "".join(texts) == "Tea is "
    assert (changed.value.code, changed.value.type) == ("text_changed", "server_error")
    wait_for_rows(site, before)
