"""A worker decodes at its own pace, whoever listens and whatever ails the Redis in between."""

import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from db.models import Item
from db.session import Database
from domain.text_pieces import Piece
from tests.builders import DIGEST, SAMPLING, a_job, items_of, preference
from tests.fake_decoder import load_echo
from tests.servers import free_port
from tests.swallowing import SwallowingProxy, swallowing_proxy
from worker.pieces import PieceSender
from worker.pipeline import decoding
from worker.pipeline.decoding import Decoding, DecodingPolicy
from worker.supervision.supervisor import EngineSupervisor

PROMPT = "one two three four five"
NUM_ITEMS = 20
POLICY = DecodingPolicy(model_digest=DIGEST, lease_seconds=30, time_slice_seconds=60, drain_seconds=20)


def a_job_that_is_heard(database: Database, num_items: int = NUM_ITEMS) -> object:
    job_id = a_job(database, [preference("formal")] * num_items, prompts=[PROMPT] * num_items)
    with database.transaction() as session:
        heard = {**SAMPLING, "listener": "process.name"}
        session.execute(update(Item).where(Item.job_id == job_id).values(sampling=heard))
    return job_id


@pytest.fixture
def proxy(redis_url: str) -> Iterator[SwallowingProxy]:
    where = urlsplit(redis_url)
    address = (str(where.hostname), int(where.port or 0))
    with swallowing_proxy(lambda: socket.create_connection(address)) as proxy:
        yield proxy


def seconds_to_decode(database: Database, on_pieces: Callable[..., None]) -> float:
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30, on_pieces=on_pieces)
    supervisor.start()
    try:
        job_id = a_job_that_is_heard(database)
        began = time.monotonic()
        assert not Decoding(database, supervisor, POLICY).run()
        seconds = time.monotonic() - began
    finally:
        supervisor.stop()
    assert {item.text for item in items_of(database, job_id)} == {PROMPT}  # type: ignore[arg-type] # a UUID
    return seconds


@pytest.mark.usefixtures("forked_engines")
@pytest.mark.parametrize("ailment", ["away", "hangs"])
def test_what_ails_redis_holds_up_nothing_that_is_decoded(
    sqlite_database: Database, proxy: SwallowingProxy, ailment: str
) -> None:
    """Each piece alone would wait two seconds for a Redis that hangs: two hundred seconds of them."""
    port = free_port() if ailment == "away" else proxy.port
    sender = PieceSender(f"redis://127.0.0.1:{port}/0")
    proxy.swallow()

    assert seconds_to_decode(sqlite_database, sender.send) < 20

    sender.close()


@pytest.mark.usefixtures("forked_engines")
def test_the_pieces_of_each_item_are_its_text_and_come_before_its_end(sqlite_database: Database) -> None:
    heard: list[Piece] = []

    seconds_to_decode(sqlite_database, heard.extend)

    assert "".join(piece.text for piece in heard) == PROMPT * NUM_ITEMS


@pytest.mark.usefixtures("forked_engines")
def test_texts_that_grow_do_not_make_a_worker_ask_the_database_more_often(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_polls = 0
    poll = EngineSupervisor.poll

    def counted(self: EngineSupervisor, seconds: float) -> list[object]:
        nonlocal num_polls
        num_polls += 1
        return list(poll(self, seconds))

    monkeypatch.setattr(EngineSupervisor, "poll", counted)
    supervisor = EngineSupervisor(load_echo, start_seconds=60, silence_seconds=30)
    supervisor.start()
    prompt = "slow " + "word " * 40
    job_id = a_job(sqlite_database, [preference("formal")], prompts=[prompt])
    with sqlite_database.transaction() as session:
        heard = {**SAMPLING, "listener": "process.name"}
        session.execute(update(Item).where(Item.job_id == job_id).values(sampling=heard))
    num_polls = 0
    monkeypatch.setattr(decoding, "POLL_SECONDS", 0.5)  # forty words take two seconds

    Decoding(sqlite_database, supervisor, POLICY).run()

    supervisor.stop()
    assert num_polls < 20
