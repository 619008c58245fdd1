"""NDJSON bodies that can be sent more than once: a file as it is, or values written to one."""

import json
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TypeGuard, cast

from padserve.client import tables
from padserve.client.head_line import BYTE_ORDER_MARK, Head, json_line, read_head
from padserve.client.other_formats import MOST_MAGIC_BYTES, refuse_other_formats
from padserve.client.transport import OpenBody
from padserve.errors import LineError, SourceError

MEDIA_TYPE = "application/x-ndjson"
CSV = "text/csv"
GROUPS = frozenset({"attributes", "metadata"})
STANDARD_INPUT = "-"
GIVEN = "What was given"
SPOOL_IN_MEMORY_BYTES = 2**23
CHUNK_BYTES = 2**16

Source = str | Path | IO[bytes] | Iterable[Mapping[str, object]] | tables.Frame


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent, and how an error in it is told in the places of its source."""

    chunks: OpenBody
    place: Callable[[LineError], LineError]
    media_type: str = MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class _Table:
    """What was a table, and on which line of it each entry began."""

    columns: tables.Columns
    lines: Sequence[int]


@contextmanager
def opened(
    source: Source,
    *,
    options: Mapping[str, object] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Body]:
    """A body made of `source`: a path, an open binary file, JSON objects or a data frame.

    `options` are what a job says once for all of its items; they go before those in a first line of the source. A path
    that ends in .csv is a table, in which `columns` may name what a column holds; where `columns` are given, so is
    every other file.
    """
    with ExitStack() as stack:
        table: _Table | None = None
        if _is_table(source, columns):
            file = _spooled(stack)
            table = _write_table(file, source, columns or {})
        elif isinstance(source, str | Path):
            file = _seekable(stack, Path(source))
            _refuse_csv(file, Path(source).name)
        else:
            file = _spooled(stack)
            file.writelines(_parts(source, columns or {}))
            _refuse_csv(file, GIVEN)
        head = read_head(file, options or {})

        def chunks() -> Iterator[bytes]:
            file.seek(head.skipped_bytes)
            if head.content:
                yield head.content
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

        yield Body(chunks, partial(_placed, head=head, table=table))


@contextmanager
def opened_profiles(source: Source, columns: Mapping[str, str] | None) -> Iterator[Body]:
    """A body of profiles: a table is sent as it is, for the server reads it."""
    if not _is_table(source, columns):
        with opened(source) as body:
            yield body
        return
    with ExitStack() as stack:
        file = _seekable(stack, Path(source)) if isinstance(source, str | Path) else _copied(stack, source)
        refuse_other_formats(
            file.read(MOST_MAGIC_BYTES), Path(source).name if isinstance(source, str | Path) else GIVEN
        )

        def chunks() -> Iterator[bytes]:
            file.seek(0)
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")

        yield Body(chunks, partial(_in_column, columns=columns or {}), CSV)


def _in_column(error: LineError, *, columns: Mapping[str, str]) -> LineError:
    """The error where a table has it: a column whose name is not mapped is called like its field."""
    name, *rest = (error.pointer or "").strip("/").split("/")
    if error.line is None or not name:
        return error
    field = f"{name}.{rest[0]}" if rest and name in GROUPS else name
    return replace(error, column=next((column for column, held in columns.items() if held == field), field))


def _spooled(stack: ExitStack) -> IO[bytes]:
    return stack.enter_context(tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES))


def _parts(
    source: IO[bytes] | Iterable[Mapping[str, object]] | tables.Frame, columns: Mapping[str, str]
) -> Iterator[bytes]:
    if hasattr(source, "read"):
        return iter(lambda: source.read(CHUNK_BYTES), b"")
    rows = tables.frame_items(source, columns)
    return map(json_line, cast("Iterable[Mapping[str, object]]", source) if rows is None else rows)


def _is_table(source: Source, columns: Mapping[str, str] | None) -> TypeGuard[str | Path | IO[bytes]]:
    if isinstance(source, str | Path):
        return columns is not None or Path(source).suffix.lower() in tables.SUFFIXES
    return columns is not None and hasattr(source, "read")


def _refuse_csv(file: IO[bytes], name: str) -> None:
    file.seek(0)
    start = file.read(CHUNK_BYTES)
    refuse_other_formats(start, name)
    if tables.looks_like_csv(start):
        raise SourceError(tables.IS_CSV.format(name=name))
    file.seek(0)


def _write_table(file: IO[bytes], source: str | Path | IO[bytes], columns: Mapping[str, str]) -> _Table:
    with ExitStack() as stack:
        if isinstance(source, str | Path):
            name, table = Path(source).name, _seekable(stack, Path(source))
        else:
            name, table = GIVEN, _copied(stack, source)
        rows = tables.read_csv(table, name, columns)
        lines = array("L")
        for line, item in rows.items():
            lines.append(line)
            file.write(json_line(item))
    return _Table(rows.columns, lines)


def _seekable(stack: ExitStack, path: Path) -> IO[bytes]:
    """The file, to be read more than once; of a pipe with a name, as a shell makes of `<(command)`, a copy."""
    file = stack.enter_context(_open(path))
    return file if file.seekable() else _copied(stack, file)


def _copied(stack: ExitStack, source: IO[bytes]) -> IO[bytes]:
    """The same as a file that may be closed: what was given stays open, and may be a pipe."""
    copy = _spooled(stack)
    shutil.copyfileobj(source, copy)
    copy.seek(0)
    return copy


def _placed(error: LineError, *, head: Head, table: _Table | None) -> LineError:
    """The error with the line, and the column of a table, at which the source has what it is about."""
    if table is None:
        return head.place(error)
    placed = head.place(error, lines=table.lines)
    is_in_row = placed.line is not None and placed.pointer is not None
    field = (placed.pointer or "").strip("/").partition("/")[0]
    column = table.columns.name_of(field) if is_in_row else None
    return replace(placed, column=column)


def read_objects(path: str) -> list[dict[str, object]]:
    """The JSON objects of a small file, one a line; `-` is standard input. Raises SourceError with the line."""
    found: list[dict[str, object]] = []
    with ExitStack() as stack:
        file = sys.stdin.buffer if path == STANDARD_INPUT else stack.enter_context(_open(Path(path)))
        content = file.read()
        refuse_other_formats(content, path)
        for number, raw in enumerate(content.splitlines(), start=1):
            line = raw.removeprefix(BYTE_ORDER_MARK)
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode())
            except UnicodeDecodeError as error:
                raise SourceError(f"Line {number} of {path} is not UTF-8 text.") from error
            except (ValueError, RecursionError) as error:  # the second: brackets within brackets without end
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
