"""The names of message batches and messages on the wire."""

import re
import uuid

_BATCH = re.compile(r"msgbatch_([0-9a-f]{32})")


def batch_name(batch_id: uuid.UUID) -> str:
    """A batch's id on the wire."""
    return f"msgbatch_{batch_id.hex}"


def parse_batch_name(text: str) -> uuid.UUID | None:
    """The id of a batch, or None for what names none."""
    found = _BATCH.fullmatch(text)
    return None if found is None else uuid.UUID(found[1])


def message_name(origin: uuid.UUID, position: int) -> str:
    """The id of the answer to the request at this position of a batch or job."""
    return f"msg_{origin.hex}_{position}"
