"""NDJSON bodies that can be sent more than once: a file as it is, or values written to one."""

import json
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from padserve import tables
from padserve.errors import LineError, SourceError
from padserve.head_line import BYTE_ORDER_MARK, json_line, read_head
from padserve.transport import OpenBody

MEDIA_TYPE = "application/x-ndjson"
STANDARD_INPUT = "-"
SPOOL_IN_MEMORY_BYTES = 2**23
CHUNK_BYTES = 2**16

Source = str | Path | IO[bytes] | Iterable[Mapping[str, object]] | tables.Frame


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent, and how an error in it is told in the places of its source."""

    chunks: OpenBody
    place: Callable[[LineError], LineError]


@contextmanager
def opened(
    source: Source, *, options: Mapping[str, object] | None = None, columns: Mapping[str, str] | None = None
) -> Iterator[Body]:
    """A body made of `source`: a path, an open binary file, JSON objects or a data frame.

    `options` are what a job says once for all of its items; they go before those in a first line of the source. A path
    that ends in .csv is a table, in which `columns` may name what a column holds.
    """
    with ExitStack() as stack:
        lines: Sequence[int] | None = None
        if isinstance(source, str | Path) and Path(source).suffix.lower() in tables.SUFFIXES:
            file = _spooled(stack)
            lines = _write_table(file, Path(source), columns or {})
        elif isinstance(source, str | Path):
            file = stack.enter_context(_open(Path(source)))
        else:
            file = _spooled(stack)
            file.writelines(_parts(source, columns or {}))
        head = read_head(file, options or {})

        def chunks() -> Iterator[bytes]:
            file.seek(head.skipped_bytes)
            if head.content:
                yield head.content
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

        yield Body(chunks, partial(head.place, lines=lines))


def _spooled(stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES))


def _parts(
    source: IO[bytes] | Iterable[Mapping[str, object]] | tables.Frame, columns: Mapping[str, str]
) -> Iterator[bytes]:
    if hasattr(source, "read"):
        return iter(lambda: source.read(CHUNK_BYTES), b"")
    rows = tables.frame_items(source, columns)
    return map(json_line, cast("Iterable[Mapping[str, object]]", source) if rows is None else rows)


def _write_table(file: IO[bytes], path: Path, columns: Mapping[str, str]) -> Sequence[int]:
    lines = array("L")
    with _open(path) as table:
        for line, item in tables.csv_items(table, path.name, columns):
            lines.append(line)
            file.write(json_line(item))
    return lines


def read_objects(path: str) -> list[dict[str, object]]:
    """The JSON objects of a small file, one a line; `-` is standard input. Raises SourceError with the line."""
    found: list[dict[str, object]] = []
    with ExitStack() as stack:
        file = sys.stdin.buffer if path == STANDARD_INPUT else stack.enter_context(_open(Path(path)))
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
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
