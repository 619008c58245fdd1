"""Tables as CSV (RFC 4180): rows by the names in their header. Bytes and cells; what one means: `api.csv.cells`.

UTF-8, with or without a byte order mark; lines end as on Unix, Windows or old Macs; commas, semicolons or tabs,
whichever the header has most of; cells in quotes may hold all of them, and line breaks. An empty cell is not said, and
the `'` before what would be a formula is taken off. Every row has as many cells as the header.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, NamedTuple

from pydantic import StringConstraints

from api.http.bodies import MAX_LINE_BYTES, NDJSON, JsonSyntaxError, SpooledBody, parse_json
from api.http.errors import BodyTooLargeError, InvalidRequestError, LineError
from api.jobs.result_rows import unguarded
from domain.text_files import BYTE_ORDER_MARK, csv_fault, foreign_format

CSV = "text/csv"
DELIMITERS = ",;\t"
EVERY_OTHER = "*"
MAX_COLUMNS = 1000
MAX_NAMES_SHOWN = 20
IS_CSV = f"This is a CSV, not JSON: send it with `Content-Type: {CSV}`."
BARE_RETURNS = "The lines end with carriage returns alone: end them with line feeds."
NOT_UTF8 = 'This is not UTF-8 text: save it as "CSV UTF-8".'

ColumnAndField = Annotated[str, StringConstraints(max_length=400)]
FieldOf = Callable[[str], str | None]
"""The field that a name means, in a header or in a mapping; None where it is none."""


class TableRow(NamedTuple):
    """One row: the line on which it begins, and what it says by field, or why it cannot be read."""

    line: int
    cells: Mapping[str, str]
    fault: str | None = None

    @property
    def error(self) -> LineError | None:
        """The fault, if there is one."""
        return None if self.fault is None else LineError("csv", f"{self.fault}.", "", self.line)


@dataclass(frozen=True, slots=True)
class Kind:
    """What rows of a table are: which fields they have, and what stands for all columns that are none."""

    field_of: FieldOf
    field_names: Sequence[str]
    required: str
    """The field that has to be there."""
    others: Callable[[str], str | None] = lambda _: None
    """The field for a column that `*` is mapped for."""
    others_name: str = ""


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """A mapping as a query has it, `COLUMN=FIELD` each; an empty field leaves the column out."""
    found: dict[str, str] = {}
    for pair in pairs:
        column, equals, field = pair.rpartition("=")
        if not equals or not column.strip() or column.strip() in found:
            message = f"Write COLUMN=FIELD, once for each column, not `{pair[:64]}`."
            raise InvalidRequestError(errors=[LineError("column", message, "column")])
        found[column.strip()] = field.strip()
    return found


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a header, and the field that it holds; None where it is left out, or is no field."""

    name: str
    field: str | None


def table_columns(body: SpooledBody, columns: Mapping[str, str], kind: Kind) -> list[Column]:
    """The named columns of a table in order. Raises InvalidRequestError where the header cannot be read."""
    names, _ = _header(body)
    return [Column(name, _field(name, columns, kind)[0]) for name in names if name]


def table_rows(body: SpooledBody, columns: Mapping[str, str], kind: Kind) -> Iterator[TableRow]:
    """The rows in order. Raises InvalidRequestError where the header is not one; a fault in a row is told in it."""
    names, rows = _header(body)
    fields = _fields(names, columns, kind)
    for row in rows:
        if row.fault is not None:
            yield TableRow(row.line, {}, row.fault)
        elif any(cell.strip() for cell in row.cells):
            yield _row(row, fields)


def _header(body: SpooledBody) -> tuple[list[str], Iterator["_Cells"]]:
    """The names of the columns, and the rows below them."""
    _refuse_foreign(body)
    lines = _Lines(body)
    first = next(iter(lines), "")
    if not first.strip():
        raise _refused("header", "This is no CSV: its first line has to name the columns.")
    rows = _parsed(lines, max(DELIMITERS, key=first.count))
    header = next(rows)
    if header.fault is not None:
        raise _refused("header", f"{header.fault}.")
    return [name.replace(BYTE_ORDER_MARK, "").strip() for name in header.cells], rows


def refuse_csv(body: SpooledBody) -> None:
    """Raise InvalidRequestError where lines of JSON are expected and the body is a table, or no UTF-8 text."""
    _refuse_foreign(body)
    if looks_like_csv(body):
        line = next(number for number, _ in body.lines())
        raise InvalidRequestError(IS_CSV, errors=[LineError("csv", IS_CSV, "", line)])
    if _has_bare_returns(body):
        raise _refused("line_ends", BARE_RETURNS)


def _refuse_foreign(body: SpooledBody) -> None:
    foreign = foreign_format(body.start)
    if foreign is not None:
        raise _refused("encoding", f"This is {foreign}.")


def _has_bare_returns(body: SpooledBody) -> bool:
    """Whether the first line is no JSON, and several to whoever counts carriage returns as ends of lines."""
    try:
        first = next((line for _, line in body.lines()), b"")
        if b"\r" in first:
            parse_json(first)
    except BodyTooLargeError:
        return False
    except JsonSyntaxError:
        return True
    return False


def looks_like_csv(body: SpooledBody) -> bool:
    """Whether the first line is no JSON, and several names side by side."""
    try:
        first = next((line for _, line in body.lines()), b"")
        parse_json(first)
    except BodyTooLargeError:
        return False  # no header is as long as that
    except JsonSyntaxError:
        text = first.decode(errors="replace")
        return any(delimiter in text for delimiter in DELIMITERS) and text.lstrip()[:1] not in {"{", "["}
    return False


class _Cells(NamedTuple):
    line: int
    cells: Sequence[str]
    fault: str | None = None


class _Lines:
    """The lines of a body as text; a row, which may be several, has at most MAX_LINE_BYTES."""

    def __init__(self, body: SpooledBody) -> None:
        self._body = body
        self._num_bytes_of_row = 0

    def begin_row(self) -> None:
        """Count the bytes of another row from 0, for the bound on a row."""
        self._num_bytes_of_row = 0

    def __iter__(self) -> Iterator[str]:
        self._num_bytes_of_row = 0
        for number, line in enumerate(_ended_lines(self._body.file), start=1):
            self._num_bytes_of_row += len(line)
            if self._num_bytes_of_row > MAX_LINE_BYTES:
                raise BodyTooLargeError(f"The row at line {number} is longer than {MAX_LINE_BYTES} bytes.")
            try:
                yield line.decode().lstrip(BYTE_ORDER_MARK)
            except UnicodeDecodeError:
                raise _refused("encoding", NOT_UTF8, number) from None


def _ended_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines with what ends them: a line feed, a carriage return, or both. Long ones come in pieces."""
    file.seek(0)
    rest = b""
    while piece := file.readline(MAX_LINE_BYTES + 2):
        *ended, rest = (rest + piece).splitlines(keepends=True)
        yield from ended
        if rest.endswith(b"\n") or len(rest) > MAX_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def _parsed(lines: _Lines, delimiter: str) -> Iterator[_Cells]:
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield _Cells(line, cells)
            line = reader.line_num + 1
            lines.begin_row()
    except csv.Error as error:
        yield _Cells(line, (), f"The row that begins here cannot be read ({csv_fault(error)})")


def _fields(names: Sequence[str], columns: Mapping[str, str], kind: Kind) -> list[str | None]:
    """The field of each column; None for one that is left out, empty for one without a name."""
    errors = [
        LineError("unknown_column", f"There is no column {name!r} in the header.", "column", 1)
        for name in columns
        if name != EVERY_OTHER and name not in names
    ]
    if len(names) > MAX_COLUMNS:
        raise _refused("header", f"A table has at most {MAX_COLUMNS} columns.")
    if any(name.startswith("{") for name in names[:1]):
        raise _refused("header", f"This is NDJSON, not CSV: send it with `Content-Type: {NDJSON}`.")
    fields: list[str | None] = []
    unknown: list[str] = []
    for name in names:
        field, is_known = _field(name, columns, kind)
        fields.append(field)
        if not is_known:
            unknown.append(name)
    if unknown:
        errors.append(LineError("unknown_column", _unknown(unknown, kind), "", 1))
    for field, number in Counter(field for field in fields if field).items():
        if number > 1:
            errors.append(LineError("duplicate_column", f"{number} columns are the field `{field}`.", "", 1))
    if not errors and kind.required not in fields:
        errors.append(LineError("missing_column", f"No column is the field `{kind.required}`.", "", 1))
    if errors:
        raise InvalidRequestError(errors=errors)
    return fields


def _field(name: str, columns: Mapping[str, str], kind: Kind) -> tuple[str | None, bool]:
    if not name:
        return "", True
    if name in columns:
        field = columns[name]
        return (kind.field_of(field), kind.field_of(field) is not None) if field else (None, True)
    field_of_name = kind.field_of(name)
    if field_of_name is not None or EVERY_OTHER not in columns:
        return field_of_name, field_of_name is not None
    if not columns[EVERY_OTHER]:
        return None, True
    other = kind.others(name) if columns[EVERY_OTHER] == kind.others_name else None
    return other, other is not None


def _unknown(names: Sequence[str], kind: Kind) -> str:
    listed = ", ".join(f"`{name[:64]}`" for name in names[:MAX_NAMES_SHOWN])
    known = ", ".join(kind.field_names)
    return (
        f"The first line names the columns, and these are no fields: {listed}. Say what each is by "
        f"`column=COLUMN=FIELD`, or leave it out by `column=COLUMN=`; fields are {known}."
    )


def _row(row: _Cells, fields: Sequence[str | None]) -> TableRow:
    if len(row.cells) != len(fields):
        return TableRow(row.line, {}, f"The row has {len(row.cells)} cells, and the header {len(fields)}")
    cells = zip(fields, map(unguarded, row.cells), strict=True)
    said = {field: cell for field, cell in cells if field is not None and cell.strip()}
    if "" in said:
        return TableRow(row.line, {}, "The row has a cell in a column without a name")
    return TableRow(row.line, said)


def _refused(code: str, message: str, line: int = 1) -> InvalidRequestError:
    return InvalidRequestError(message, errors=[LineError(code, message, "", line)])
