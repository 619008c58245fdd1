"""How a command writes what it exports: lines of JSON as they come, one JSON list, or CSV."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from padserve.client import profile_tables
from padserve.client.csv_text import BYTE_ORDER_MARK
from padserve.client.files import write_lines

SPOOL_IN_MEMORY_BYTES = 2**23

ToCsv = Callable[[Iterable[str]], Iterator[str]]


class Format(StrEnum):
    """The file formats in which results and profiles are written."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"


@dataclass(slots=True)
class Counted:
    """Lines, counted while they are iterated over."""

    lines: Iterable[str]
    num_lines: int = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.num_lines += 1
            yield line


def chosen(stated: str | None, output: Path | None, *, as_json: bool) -> Format:
    """What was asked for, else what the file's name says."""
    if stated is not None:
        return Format(stated)
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    return Format.JSON if as_json else Format(suffix) if suffix in {"json", "csv"} else Format.NDJSON


def write(lines: Iterable[str], path: Path | None, form: Format, to_csv: ToCsv | None = None) -> int:
    """Write what a server gives as JSON lines, and return how many there were; None is standard output."""
    counted = Counted(lines)
    if form is Format.JSON:
        write_lines(_as_list(counted), path)
    elif form is Format.CSV and to_csv is not None:
        write_lines(_marked(to_csv(counted)) if path is not None else to_csv(counted), path)
    else:
        write_lines(counted, path)
    return counted.num_lines


def profiles_csv(lines: Iterable[str]) -> Iterator[str]:
    """Profiles, given as lines of JSON, as CSV: a header, then a row each."""
    with tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY_BYTES) as spool:
        yield from profile_tables.write_profiles(lines, spool)


def _as_list(lines: Iterable[str]) -> Iterator[str]:
    before = "["
    for line in lines:
        yield before if before == "[" else f"{before},"
        before = line
    yield from ("[]",) if before == "[" else (before, "]")


def _marked(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line if number else BYTE_ORDER_MARK + line
