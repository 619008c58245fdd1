"""Answers that are streamed, read with OpenAI's own client; a thread does the worker's part, over a real Redis."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from sqlalchemy import URL, func, select

from api.streams import one_answer
from db.models import Item, Job, Result
from db.queries import claims
from domain.attempts import ClaimedItem, Outcome
from domain.text_pieces import Piece
from tests.builders import DIGEST
from tests.openai.conftest import ALIAS, MODEL, Site, a_site
from tests.servers import copy_of
from worker.pieces import PieceSender

MESSAGES: Any = [{"role": "user", "content": "Write about tea."}]
WORDS = ("Tea ", "is ", "good 🫖.")
TEXT = "".join(WORDS)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def streaming(
    request: pytest.FixtureRequest, migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> Iterator[Site]:
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("streaming") / "padserve.db"
        file.write_bytes(migrated_sqlite_file.read_bytes())
        with a_site(f"sqlite:///{file}", redis_url=redis_url) as site:
            yield site
        return
    server: URL = request.getfixturevalue("migrated_postgresql")
    with copy_of(server) as url, a_site(url, redis_url=redis_url) as site:
        yield site


@pytest.fixture
def site(streaming: Site) -> Iterator[Site]:
    yield streaming
    streaming.end_everything()
    for client in streaming.clients:
        client.close()
    streaming.clients.clear()


class Writer:
    """A worker's part for one item: claims it, says its texts piece by piece, and saves them when told to."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sender = PieceSender(site.settings.redis_url)
        self._said: dict[tuple[int, int], str] = {}
        self.owner = uuid.uuid4()

    def claim(self) -> ClaimedItem:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with self._site.database.transaction() as session:
                claimed = claims.claim(session, owner=self.owner, model_digest=DIGEST, limit=1, lease_seconds=60)
            if claimed:
                return claimed[0]
            time.sleep(0.01)
        raise AssertionError

    def say(self, item: ClaimedItem, *words: str, choice: int = 0) -> None:
        for word in words:
            said = self._said.get((item.attempt, choice), "")
            self._sender.send([Piece(str(item.sampling["listener"]), item.attempt, choice, len(said), word)])
            self._said[item.attempt, choice] = said + word
        assert self._sender.flush(30)

    def begin_again(self, item: ClaimedItem) -> None:
        """As an engine does that takes the place of one that has died."""
        self._said = {key: said for key, said in self._said.items() if key[0] != item.attempt}

    def save(self, item: ClaimedItem, text: str | None = TEXT, **fields: Any) -> None:  # noqa: ANN401 - an Outcome's
        said = {"finish_reason": "stop", "num_prompt_tokens": 3, "num_completion_tokens": 4, **fields}
        with self._site.database.transaction() as session:
            claims.save(session, owner=self.owner, outcomes=[Outcome(item.item_id, item.attempt, text=text, **said)])

    def close(self) -> None:
        self._sender.close()


@pytest.fixture
def writer(site: Site) -> Iterator[Writer]:
    writer = Writer(site)
    yield writer
    writer.close()


@contextmanager
def meanwhile(act: Any) -> Iterator[None]:  # noqa: ANN401 - any function without arguments
    """Does it in a thread while the block runs; what it raises is raised at the end of the block."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def num_rows(site: Site) -> list[int]:
    with site.database.reading() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in (Job, Item, Result)]


def wait_for_rows(site: Site, before: Sequence[int]) -> None:
    """Until there are no more than before; fewer, if what an earlier test had left was removed meanwhile."""
    until = time.monotonic() + 20
    while has_more_rows(site, before) and time.monotonic() < until:
        time.sleep(0.05)
    assert not has_more_rows(site, before)


def has_more_rows(site: Site, before: Sequence[int]) -> bool:
    return any(now > then for now, then in zip(num_rows(site), before, strict=True))


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
    assert num_rows(site) == before


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
