"""Lines to a file or to standard output. A file appears whole or not at all; what is no file is written into."""

import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from padserve.errors import SourceError

MAX_NAME_CHARACTERS = 48
"""Of a file's name, in the name of what is written until it is whole: names have at most 255 bytes."""


def write_lines(lines: Iterable[str], path: Path | None) -> int:
    """Write the lines and return how many; None is standard output."""
    try:
        if path is None:
            return _print(lines)
        if path.exists() and not path.is_file():  # a device, a pipe
            with path.open("wb") as file:
                return _write(lines, file.write)
        return _replace(path.resolve(), lines)
    except BrokenPipeError:  # whoever read has read enough
        raise
    except OSError as error:
        raise SourceError(f"Cannot write {path or 'to standard output'}: {error.strerror}.") from error


def _print(lines: Iterable[str]) -> int:
    num_lines = _write(lines, sys.stdout.buffer.write)
    sys.stdout.buffer.flush()  # a disk that is full says so now
    return num_lines


def _replace(path: Path, lines: Iterable[str]) -> int:
    partial = path.with_name(f".{path.name[:MAX_NAME_CHARACTERS]}.{secrets.token_hex(4)}.partial")  # each writer's own
    try:
        with partial.open("xb") as file:
            num_lines = _write(lines, file.write)
        if path.exists():
            shutil.copymode(path, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return num_lines


def _write(lines: Iterable[str], write: Callable[[bytes], int]) -> int:
    num_lines = 0
    for num_lines, line in enumerate(lines, start=1):  # noqa: B007 - counted
        write(line.encode() + b"\n")
    return num_lines
