"""Pieces of texts on their way through a real Redis: nobody waits for it, and nothing piles up while it is away."""

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from domain.text_pieces import Piece
from tests.servers import free_port
from tests.swallowing import swallowing_proxy
from worker import pieces as sending
from worker.pieces import MOST_PENDING, PieceSender, channel_of, listener_of, packed, unpacked

LISTENER = listener_of(uuid.uuid4(), uuid.uuid4())


def a_piece(offset: int, text: str, listener: str = LISTENER, attempt: int = 1) -> Piece:
    return Piece(listener, attempt, 0, offset, text)


@pytest.fixture
def heard(redis_url: str) -> Iterator[list[Piece]]:
    """What a subscriber to the channel of `LISTENER` hears."""
    pieces: list[Piece] = []
    is_over = threading.Event()
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as subscription:
        subscription.subscribe(channel_of(LISTENER))
        assert subscription.get_message(timeout=10) is not None

        def listen() -> None:
            while not is_over.is_set():
                message = subscription.get_message(timeout=0.05)
                if message is not None:
                    pieces.extend(unpacked(message["data"]))

        thread = threading.Thread(target=listen)
        thread.start()
        yield pieces
        is_over.set()
        thread.join()


def wait_for(heard: list[Piece], num_pieces: int) -> None:
    until = time.monotonic() + 20
    while len(heard) < num_pieces and time.monotonic() < until:
        time.sleep(0.01)
    assert len(heard) == num_pieces


def test_pieces_arrive_in_order_and_keep_every_character(redis_url: str, heard: list[Piece]) -> None:
    sender = PieceSender(redis_url)

    for offset, text in ((0, "Tea 🫖\u2028"), (6, '"\\\n'), (9, "is")):
        sender.send([a_piece(offset, text)])
        assert sender.flush(20)

    wait_for(heard, 3)
    assert "".join(piece.text for piece in heard) == 'Tea 🫖\u2028"\\\nis'
    sender.close()


def test_a_message_that_is_none_is_refused() -> None:
    assert unpacked(packed([a_piece(0, "Tea")]).encode()) == [a_piece(0, "Tea")]
    for message in (b"Tea", b"[1]", b"[[1, 2]]", b"3", b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
            unpacked(message)


def test_what_comes_while_redis_is_away_is_joined_and_sent_when_it_answers_again(
    redis_url: str, heard: list[Piece]
) -> None:
    where = urlsplit(redis_url)
    host, port = str(where.hostname), int(where.port or 0)
    with swallowing_proxy(lambda: socket.create_connection((host, port))) as proxy:
        sender = PieceSender(f"redis://127.0.0.1:{proxy.port}/0", rest_seconds=0.05)
        sender.send([a_piece(0, "Tea ")])
        wait_for(heard, 1)
        proxy.swallow()

        began = time.monotonic()
        for number in range(100):
            sender.send([a_piece(4 + number, str(number % 10))])
        assert time.monotonic() - began < 1, "it waited for Redis"
        assert not sender.flush(0)
        proxy.forward()

        assert sender.flush(30)
        sender.close()
    wait_for(heard, 2)
    assert heard[1] == a_piece(4, "0123456789" * 10)


def test_of_too_much_that_waits_the_newest_is_kept(heard: list[Piece], redis_url: str) -> None:
    sender = PieceSender(f"redis://127.0.0.1:{free_port()}/0", rest_seconds=60)

    for attempt in range(3 * MOST_PENDING):
        sender.send([a_piece(0, "Tea", attempt=attempt)])

    assert len(sender._pending) == MOST_PENDING  # noqa: SLF001 - what is bounded
    assert min(key[1] for key in sender._pending) == 2 * MOST_PENDING  # noqa: SLF001
    sender.close()


def test_what_is_joined_while_its_beginning_is_being_sent_is_sent_next(
    redis_url: str, heard: list[Piece], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, is_sending, may_go_on = sending._publish, threading.Event(), threading.Event()  # noqa: SLF001

    def slowly(client: redis.Redis, pieces: list[Piece]) -> Exception | None:
        is_sending.set()
        assert may_go_on.wait(20)
        return publish(client, pieces)

    monkeypatch.setattr(sending, "_publish", slowly)
    sender = PieceSender(redis_url)

    sender.send([a_piece(0, "Tea ")])
    assert is_sending.wait(20)
    sender.send([a_piece(4, "is ")])
    sender.send([a_piece(7, "good")])
    may_go_on.set()

    assert sender.flush(20)
    wait_for(heard, 2)
    assert heard == [a_piece(0, "Tea "), a_piece(4, "is good")]
    sender.close()
