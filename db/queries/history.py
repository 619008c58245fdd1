"""What the queue says of each attempt, for whoever has to find out what happened to an item. Off unless asked for.

With `PADSERVE_LOG_LEVEL=debug` each claim, save, release, expiry, death, cancel and retry is a line with its attempts.
It is written within the transaction, before its commit: whatever was committed was said, by whoever did it. What was
said may not have been committed. No text of an item is ever in it.
"""

import logging
import uuid
from collections.abc import Iterable
from enum import StrEnum

import structlog

log = structlog.get_logger(__name__)


class Said(StrEnum):
    """What happened to an attempt. `saved` and `lost` end an item, and so does `cancelled`: by its job's early end."""

    CLAIMED = "claimed"
    SAVED = "saved"
    RELEASED = "released"
    EXPIRED = "expired"
    DIED = "died"
    LOST = "lost"
    CANCELLED = "cancelled"
    RETRIED = "retried"


def say(said: Said, attempts: Iterable[tuple[int, int]], owner: uuid.UUID | None = None) -> None:
    """Write the line; `attempts` is not even read where nobody listens. The owner is the worker that acts."""
    if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        named = [[item_id, number] for item_id, number in attempts]
        if named:
            log.debug("attempts", said=said.value, owner=owner and owner.hex, attempts=named)
