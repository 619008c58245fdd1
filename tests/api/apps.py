"""Applications are built as they are served, and lent to one test after the other.

At its first request FastAPI works out every route, which takes longer than most tests. An application that a test
gets has been through that in an earlier one; everything that it holds for its requests is made anew.
"""

import asyncio
from collections import defaultdict
from concurrent.futures import Future
from functools import cache
from threading import Thread
from typing import Any

from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from starlette.testclient import TestClient

from api import app
from api.settings import Settings
from db.session import Database
from worker.queue import Queue

_free: defaultdict[str, list[FastAPI]] = defaultdict(list)
_lent: list[tuple[str, FastAPI]] = []
_own_tasks: set["asyncio.Task[Any]"] = set()
"""What keeps the loop of `_portal` running."""


def create_app(settings: Settings, *, database: Database | None = None, queue: Queue | None = None) -> FastAPI:
    """As `api.app.create_app`; the application is the caller's until the end of the test."""
    kind = settings.model_dump_json(exclude={"database_url", "redis_url"})
    if _free[kind]:
        lent = _free[kind].pop()
        lent.state = app.new_state(settings, database=database, queue=queue)
    else:
        lent = app.create_app(settings, database=database, queue=queue)
    _lent.append((kind, lent))
    return lent


def client_of(app: FastAPI, **options: Any) -> TestClient:  # noqa: ANN401 - the client's
    """A client whose requests share one event loop, as those of a server do.

    Otherwise each request would start a loop, a thread for it, and one more for what it asks of the database.
    """
    client = TestClient(app, raise_server_exceptions=False, **options)
    client.portal = _portal()
    return client


@cache
def _portal() -> BlockingPortal:
    """To a loop in a thread of its own, until the process ends."""
    started: Future[BlockingPortal] = Future()

    async def serve() -> None:
        async with BlockingPortal() as portal:
            _own_tasks.update(asyncio.all_tasks())
            started.set_result(portal)
            await portal.sleep_until_stopped()

    Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    return started.result()


async def _end_what_is_left() -> None:
    """What the test's requests have left running: nobody waits for it any more."""
    left = asyncio.all_tasks() - _own_tasks - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def take_back() -> None:
    """The test has ended: the next one may have its applications."""
    if _portal.cache_info().currsize:
        _portal().call(_end_what_is_left)
    for kind, lent in _lent:
        _free[kind].append(lent)
    _lent.clear()
