"""A worker says that it is there for as long as it is, whatever becomes of a single word."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from db.queries import workers
from db.session import Database
from worker.pipeline import presence
from worker.pipeline.presence import Presence


@pytest.mark.parametrize("fault", [OperationalError("away", None, Exception()), RuntimeError("nobody thought of this")])
def test_whatever_keeps_a_word_from_being_said_the_next_one_is(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    stopping, faults = threading.Event(), iter([fault])

    def report(*_: object, **__: object) -> None:
        if (met := next(faults, None)) is not None:
            raise met
        stopping.set()

    monkeypatch.setattr(presence, "PRESENCE_SECONDS", 0.001)
    monkeypatch.setattr(presence, "identify", lambda **_: None)
    monkeypatch.setattr(workers, "report", report)

    Presence(sqlite_database, "tiny").keep(stopping)  # would raise, and end the worker

    assert stopping.is_set()
