"""A Redis that is gone without a word is noticed by the kernel, on every connection of API and worker."""

import datetime as dt
import json
import socket
import uuid
from collections.abc import Callable

import pytest
from redis import ConnectionPool
from redis.connection import Connection

from worker.queue import DEAD_PEER, MESSAGE_SECONDS, create_queue, enqueue, queue_name, redis_client


def checks_connections(redis_url: str) -> ConnectionPool:
    return redis_client(redis_url).connection_pool


def celerys_connections(redis_url: str) -> ConnectionPool:
    pool: ConnectionPool = create_queue(redis_url).connection_for_read().default_channel.client.connection_pool
    return pool


@pytest.mark.parametrize("connections_of", [checks_connections, celerys_connections])
def test_every_connection_is_probed(redis_url: str, connections_of: Callable[[str], ConnectionPool]) -> None:
    connections = connections_of(redis_url)
    connection = connections.get_connection()
    assert isinstance(connection, Connection)
    probed = connection._sock  # noqa: SLF001 - redis-py shows it nowhere else
    assert isinstance(probed, socket.socket)

    told = {option: probed.getsockopt(socket.IPPROTO_TCP, option) for option in DEAD_PEER}
    is_probed = probed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    connections.disconnect()

    assert is_probed
    assert told == DEAD_PEER
    assert len(told) == 4


def test_a_message_that_nobody_takes_is_forgotten_in_time(redis_url: str) -> None:
    queue, digest = create_queue(redis_url), uuid.uuid4().hex
    before = dt.datetime.now(dt.UTC)

    assert enqueue(queue, uuid.uuid4(), digest)

    with redis_client(redis_url) as client:
        (message,) = client.lrange(f"padserve:{queue_name(digest)}", 0, -1)
    until = dt.datetime.fromisoformat(json.loads(message)["headers"]["expires"])
    assert abs((until - before).total_seconds() - MESSAGE_SECONDS) < 60
