"""One ear for a whole process: each who listens hears what is theirs, and nobody waits for a Redis that is away."""

import asyncio
import time
from collections.abc import Callable

import redis
from structlog.testing import capture_logs

from api.streams.hearing import READY_SECONDS, Ear, Hearing
from domain.text_pieces import Piece
from tests.servers import free_port
from worker.pieces import PieceSender, channel_of


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


async def next_of(hearing: Hearing) -> list[Piece]:
    await asyncio.wait_for(hearing.something(), 20)
    return hearing.take()


def test_each_hears_what_is_theirs_in_whatever_loop_they_are(redis_url: str) -> None:
    ear, sender = Ear(redis_url), PieceSender(redis_url)

    async def listen(text: str) -> list[Piece]:
        await ear.ready()
        with ear.hearing() as mine, ear.hearing() as other:
            sender.send([Piece(other.listener, 1, 0, 0, "not mine"), Piece(mine.listener, 1, 0, 0, text)])
            return await next_of(mine)

    for text in ("one", "two"):  # a loop each
        assert [piece.text for piece in asyncio.run(listen(text))] == [text]
    ear.close()
    sender.close()


def test_what_was_said_to_somebody_who_has_gone_or_makes_no_sense_harms_nobody(redis_url: str) -> None:
    ear, sender = Ear(redis_url), PieceSender(redis_url)

    async def listen() -> list[Piece]:
        await ear.ready()
        with ear.hearing() as gone:
            pass
        with ear.hearing() as hearing, redis.Redis.from_url(redis_url) as client:
            client.publish(channel_of(hearing.listener), b"\xff nonsense")
            sender.send([Piece(gone.listener, 1, 0, 0, "late")])
            sender.flush(20)
            sender.send([Piece(hearing.listener, 1, 0, 0, "here")])
            return await next_of(hearing)

    with capture_logs() as logs:
        heard = asyncio.run(listen())

    assert [piece.text for piece in heard] == ["here"]
    assert [entry["event"] for entry in logs] == ["pieces_not_understood"]
    ear.close()
    sender.close()


def test_an_ear_whose_connection_is_cut_listens_again(redis_url: str) -> None:
    ear, sender = Ear(redis_url), PieceSender(redis_url)

    async def listen() -> list[Piece]:
        await ear.ready()
        with ear.hearing() as hearing, redis.Redis.from_url(redis_url) as client:
            channel = channel_of(hearing.listener)
            client.client_kill_filter(_type="pubsub")
            for num_subscribed in (0, 1):
                wait_until(lambda: client.pubsub_numsub(channel)[0][1] == num_subscribed)  # noqa: B023 - called at once
            sender.send([Piece(hearing.listener, 1, 0, 0, "here")])
            return await next_of(hearing)

    with capture_logs():
        assert [piece.text for piece in asyncio.run(listen())] == ["here"]
    ear.close()
    sender.close()


def test_where_redis_is_away_the_first_waits_a_moment_and_the_others_not_at_all() -> None:
    ear = Ear(f"redis://127.0.0.1:{free_port()}/0")

    async def waited() -> float:
        began = time.monotonic()
        await ear.ready()
        return time.monotonic() - began

    with capture_logs() as logs:
        assert asyncio.run(waited()) < 0.9 * READY_SECONDS  # refused at once, so known at once
        assert asyncio.run(waited()) < 0.1
        time.sleep(1)  # several attempts, one line
        ear.close()

    assert [entry["event"] for entry in logs].count("not_listening") == 1
