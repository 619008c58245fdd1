"""The first line of a submission, which may hold what its job says once for all items: read, and written anew."""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from padserve.errors import LineError, SourceError

BYTE_ORDER_MARK = codecs.BOM_UTF8
OPTION_NAMES = frozenset(
    {
        *("defaults", "metadata", "model", "priority", "completion_window", "not_before"),
        *("name", "holdout", "holdout_seed"),
    }
)
_LINE_NAMED = re.compile(r"^(Line )(\d+)\b")


@dataclass(frozen=True, slots=True)
class Head:
    """What is sent in place of the first `skipped_bytes` of a source, and where its lines are by that."""

    content: bytes = b""
    skipped_bytes: int = 0
    num_inserted: int = 0
    """Lines that the source does not have."""
    line: int | None = None
    """Where the options are sent that were given beside the source."""
    given: Mapping[str, object] = field(default_factory=dict)

    def place(self, error: LineError, *, lines: Sequence[int] | None = None) -> LineError:
        """The error where the source has it: what was given beside it is on no line. `lines` are those of a table."""

        def renumbered(line: int) -> int:
            line -= self.num_inserted
            return lines[line - 1] if lines is not None and 0 < line <= len(lines) else line

        message = _LINE_NAMED.sub(lambda found: f"{found[1]}{renumbered(int(found[2]))}", error.message)
        if error.line is None:
            return replace(error, message=message)
        is_beside = error.line == self.line and (self.num_inserted or _is_in(self.given, error.pointer or ""))
        return replace(error, message=message, line=None if is_beside else renumbered(error.line))


def read_head(file: IO[bytes], options: Mapping[str, object]) -> Head:
    """The first line to send for a file, with these options; those in a first line of its own yield to them."""
    if not options:
        return Head()
    file.seek(0)
    num_blank, line = 0, file.readline()
    start = len(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) else 0
    line = line[start:]
    while line and not line.strip():
        num_blank, line = num_blank + 1, file.readline()
    own = _options_in(line)
    if own is None:
        return Head(json_line(options), start, num_inserted=1, line=1, given=options)
    content = b"\n" * num_blank + json_line(_merged(own, options))
    return Head(content, file.tell(), line=num_blank + 1, given=options)


def json_line(value: Mapping[str, object]) -> bytes:
    """One line of NDJSON."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise SourceError(f"An entry is not JSON: {error}.") from error


def _options_in(line: bytes) -> Mapping[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # the second: brackets within brackets without end
        return None  # the server says what is wrong with it
    return value if isinstance(value, dict) and value and OPTION_NAMES.issuperset(value) else None


def _merged(own: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    merged = {**own, **given}
    for name in ("defaults", "metadata"):
        mine, other = own.get(name), given.get(name)
        if isinstance(mine, dict) and isinstance(other, Mapping):
            merged[name] = {**mine, **other}
    return merged


def _is_in(value: object, pointer: str) -> bool:
    for name in filter(None, pointer.split("/")):
        if not isinstance(value, Mapping):
            return True  # inside of what was given
        if name not in value:
            return False
        value = value[name]
    return not isinstance(value, Mapping)
