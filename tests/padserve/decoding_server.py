"""A worker's part beside a running API: whatever is queued is decoded until somebody says stop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from db.models import Item
from domain.states import ItemState
from tests.padserve.running_api import Server

PAUSE_SECONDS = 0.02


@contextmanager
def decoding(server: Server) -> Iterator[None]:
    """In a thread of this process."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(PAUSE_SECONDS):
            with server.database.reading() as session:
                queued = session.scalars(select(func.count()).where(Item.state == ItemState.QUEUED)).one()
            if queued:
                server.decode(queued)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
