"""Lines to a file or to standard output. A file appears whole or not at all; what is no file is written into."""

import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from padserve.errors import SourceError

MAX_NAME_CHARACTERS = 48
"""Characters of a file's name that the temporary file beside it keeps: names have at most 255 bytes."""


def write_lines(lines: Iterable[str], path: Path | None) -> int:
    """Write the lines and return how many; None is standard output."""
    return write_chunks((line.encode() + b"\n" for line in lines), path)


def write_chunks(chunks: Iterable[bytes], path: Path | None) -> int:
    """Write the chunks and return how many; None is standard output."""
    try:
        if path is None:
            return _print(chunks)
        if path.exists() and not path.is_file():  # a device, a pipe
            with path.open("wb") as file:
                return _write(chunks, file.write)
        return _replace(path.resolve(), chunks)
    except BrokenPipeError:  # whoever read has read enough
        raise
    except OSError as error:
        raise SourceError(f"Cannot write {path or 'to standard output'}: {error.strerror}.") from error


def _print(chunks: Iterable[bytes]) -> int:
    num_chunks = _write(chunks, sys.stdout.buffer.write)
    sys.stdout.buffer.flush()  # a disk that is full says so now
    return num_chunks


def _replace(path: Path, chunks: Iterable[bytes]) -> int:
    partial = path.with_name(f".{path.name[:MAX_NAME_CHARACTERS]}.{secrets.token_hex(4)}.partial")  # each writer's own
    try:
        with partial.open("xb") as file:
            num_chunks = _write(chunks, file.write)
        if path.exists():
            shutil.copymode(path, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return num_chunks


def _write(chunks: Iterable[bytes], write: Callable[[bytes], int]) -> int:
    num_chunks = 0
    for num_chunks, chunk in enumerate(chunks, start=1):  # noqa: B007 - counted
        write(chunk)
    return num_chunks
