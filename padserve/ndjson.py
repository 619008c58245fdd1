"""NDJSON bodies that can be sent more than once: a file as it is, or values written to one."""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from padserve.errors import SourceError
from padserve.transport import OpenBody

MEDIA_TYPE = "application/x-ndjson"
STANDARD_INPUT = "-"
SPOOL_IN_MEMORY_BYTES = 2**23
CHUNK_BYTES = 2**16

Source = str | Path | IO[bytes] | Iterable[Mapping[str, object]]


@contextmanager
def opened(source: Source, *, first: Mapping[str, object] | None = None) -> Iterator[OpenBody]:
    """A body made of `first`, if given, and then of `source`: a path, an open binary file, or JSON objects."""
    head = b"" if not first else _line(first)
    with ExitStack() as stack:
        if isinstance(source, str | Path):
            file: IO[bytes] = stack.enter_context(_open(Path(source)))
        else:
            file = stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES))
            file.writelines(
                iter(lambda: source.read(CHUNK_BYTES), b"") if hasattr(source, "read") else map(_line, source)
            )

        def chunks() -> Iterator[bytes]:
            file.seek(0)
            if head:
                yield head
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

        yield chunks


def read_objects(path: str) -> list[dict[str, object]]:
    """The JSON objects of a small file, one a line; `-` is standard input. Raises SourceError with the line."""
    found: list[dict[str, object]] = []
    with ExitStack() as stack:
        file = sys.stdin.buffer if path == STANDARD_INPUT else stack.enter_context(_open(Path(path)))
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise SourceError(f"Line {number} of {path} is not JSON: {error}.") from error
            if not isinstance(value, dict):
                raise SourceError(f"Line {number} of {path} is not a JSON object.")
            found.append(value)
    return found


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror}.") from error


def _line(value: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise SourceError(f"An entry is not JSON: {error}.") from error
