"""The names of files and batches on the wire. The files of a batch's results have names made of the batch's own."""

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum

_FILE = re.compile(r"file-([0-9a-f]{32})(?:-(output|error))?")
_BATCH = re.compile(r"batch_([0-9a-f]{32})")


class Part(StrEnum):
    """Which of a batch's results a file holds."""

    OUTPUT = "output"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file id names: an uploaded file, or with a part the results of the batch under this id."""

    id: uuid.UUID
    part: Part | None = None

    def __str__(self) -> str:
        """The file's id on the wire."""
        return f"file-{self.id.hex}" + ("" if self.part is None else f"-{self.part}")

    @classmethod
    def parse(cls, text: str) -> "FileName | None":
        """The name, or None for what names no file."""
        found = _FILE.fullmatch(text)
        if found is None:
            return None
        return cls(uuid.UUID(found[1]), None if found[2] is None else Part(found[2]))


def batch_name(batch_id: uuid.UUID) -> str:
    """A batch's id on the wire."""
    return f"batch_{batch_id.hex}"


def parse_batch_name(text: str) -> uuid.UUID | None:
    """The id of a batch, or None for what names none."""
    found = _BATCH.fullmatch(text)
    return None if found is None else uuid.UUID(found[1])
