"""A stream over real processes, with one of them killed, paused or missing in its middle: the text is whole, once."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from db.queries.audit import leftovers, violations
from db.queries.keys import create_key, create_tenant
from db.session import Database
from tests.system.processes import ECHO_WORKER, KEY, Stack, a_forking_stack, engine_of, wait_until

MODEL = "tiny"
PROMPT = "slow one two three four five six"
"""The test decoder says a word of it every twentieth of a second."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def stack(sqlite_url: str, tmp_path: Path) -> Iterator[Stack]:
    database = Database(sqlite_url)
    with database.transaction() as session:
        create_key(session, create_tenant(session, "default").id, "test", ["admin"], secret=KEY)
    settings = {"model_name": MODEL, "lease_seconds": 2, "reconcile_seconds": 0.3}
    with a_forking_stack(tmp_path, sqlite_url, **settings) as stack:
        stack.start_redis()
        stack.start_api()
        yield stack
        wait_until(lambda: not _rows_left(database), 30, "nothing of the request is left")
    database.dispose()


def _rows_left(database: Database) -> object:
    with database.reading() as session:
        return violations(session) or leftovers(session, seconds=5)


def start_worker(stack: Stack) -> None:
    stack.start("worker", [sys.executable, str(ECHO_WORKER)])


def start_all(stack: Stack) -> None:
    start_worker(stack)
    wait_until(stack.is_ready, 60, "a model is served")


class Reader:
    """Reads one stream in a thread; `texts` grows meanwhile."""

    def __init__(self, stack: Stack, prompt: str) -> None:
        self.texts: list[str] = []
        self.failed: list[Exception] = []
        self._client = OpenAI(base_url=f"http://127.0.0.1:{stack.api_port}/v1", api_key=KEY, max_retries=0)
        self._prompt = prompt
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for chunk in self._client.completions.create(model=MODEL, prompt=self._prompt, stream=True):
                self.texts.append(chunk.choices[0].text)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failed.append(error)

    def wait_for_text(self) -> None:
        wait_until(lambda: len(self.texts) > 1 or bool(self.failed), 60, "the text has begun")

    def joined(self) -> str:
        self._thread.join(90)
        assert not self._thread.is_alive()
        assert not self.failed
        self._client.close()
        return "".join(self.texts)


def test_a_stream_goes_on_when_its_engine_dies_in_the_middle(stack: Stack, tmp_path: Path) -> None:
    start_all(stack)
    prompt = f"once:{tmp_path / 'died'} {PROMPT} die! seven eight slow"

    reader = Reader(stack, prompt)

    assert reader.joined() == prompt
    assert (tmp_path / "died").exists()
    assert sum(map(bool, reader.texts)) > 5
    assert "engine_lost" in stack.log("worker")


def test_a_stream_goes_on_when_its_worker_is_killed_in_the_middle(stack: Stack) -> None:
    start_all(stack)
    prompt = PROMPT + " and so on" * 8

    reader = Reader(stack, prompt)
    reader.wait_for_text()
    stack.process("worker").kill()
    start_worker(stack)

    assert reader.joined() == prompt
    assert sum(map(bool, reader.texts)) > 8


@pytest.mark.parametrize("ailment", ["paused", "killed"])
def test_a_stream_whose_redis_is_lost_in_the_middle_ends_with_the_whole_text(stack: Stack, ailment: str) -> None:
    start_all(stack)
    prompt = PROMPT + " and so on" * 8

    reader = Reader(stack, prompt)
    reader.wait_for_text()
    stack.process("redis").send_signal(signal.SIGSTOP if ailment == "paused" else signal.SIGKILL)

    assert reader.joined() == prompt
    stack.process("redis").send_signal(signal.SIGCONT)


def test_a_stream_without_any_redis_gives_the_text_at_its_end(stack: Stack) -> None:
    stack.process("redis").kill()
    start_worker(stack)
    with stack.client as client:
        wait_until(lambda: bool(client.get("/v1/models").json()["data"]), 60, "a model is there")

    assert Reader(stack, PROMPT).joined() == PROMPT


def test_a_worker_stops_writing_when_the_reader_has_gone(stack: Stack) -> None:
    start_all(stack)
    client = OpenAI(base_url=f"http://127.0.0.1:{stack.api_port}/v1", api_key=KEY, max_retries=0)

    stream = client.completions.create(model=MODEL, prompt=PROMPT + " and so on" * 40, stream=True)
    next(stream)
    stream.close()
    client.close()
    began = time.monotonic()

    assert Reader(stack, PROMPT).joined() == PROMPT  # behind the other, which would have taken six seconds
    assert time.monotonic() - began < 5
    assert engine_of(stack.process("worker")) is not None
