"""Waiting until a database can do what is asked of it."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from db.faults import describe, is_passing
from db.session import DatabaseUnreachableError

RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 10.0

log = structlog.get_logger(__name__)


def until_done(act: Callable[[], None], stopping: threading.Event) -> None:
    """Do it, again and again while the database cannot, or until `stopping` is set. Raises what does not pass."""
    seconds = RETRY_SECONDS
    while not stopping.is_set():
        try:
            act()
        except (SQLAlchemyError, DatabaseUnreachableError) as error:
            if not is_passing(error):
                raise
            log.warning("database_unavailable", retry_seconds=seconds, **describe(error))
        else:
            return
        stopping.wait(seconds)
        seconds = min(2 * seconds, MAX_RETRY_SECONDS)
