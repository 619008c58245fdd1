"""Applications are built as they are served, and lent to one test after the other.

At its first request FastAPI works out every route, which takes longer than most tests. An application that a test
gets has been through that in an earlier one; everything that it holds for its requests is made anew.
"""

from collections import defaultdict

from fastapi import FastAPI

from api import app
from api.settings import Settings
from db.session import Database
from worker.queue import Queue

_free: defaultdict[str, list[FastAPI]] = defaultdict(list)
_lent: list[tuple[str, FastAPI]] = []


def create_app(settings: Settings, *, database: Database | None = None, queue: Queue | None = None) -> FastAPI:
    """As `api.app.create_app`; the application is the caller's until the end of the test."""
    fresh = app.create_app(settings, database=database, queue=queue)
    kind = settings.model_dump_json(exclude={"database_url", "redis_url"})
    try:
        lent = _free[kind].pop()
    except IndexError:
        lent = fresh
    lent.state = fresh.state
    _lent.append((kind, lent))
    return lent


def take_back() -> None:
    """The test has ended: the next one may have its applications."""
    for kind, lent in _lent:
        _free[kind].append(lent)
    _lent.clear()
