"""Items from tables: CSV files and data frames, a row each. An empty cell is not said."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from domain.text_files import BYTE_ORDER_MARK, csv_fault
from padserve.client.csv_text import read_cell
from padserve.client.other_formats import MOST_MAGIC_BYTES, refuse_other_formats
from padserve.errors import SourceError

SUFFIXES = frozenset({".csv", ".tsv"})
DELIMITERS = ",;\t"
TEXTS = frozenset({"custom_id", "user_id", "prompt", "method"})
NUMBERS = frozenset(
    {
        *("strength", "max_kl", "k", "top_k", "temperature", "top_p", "min_p", "repetition_penalty"),
        *("presence_penalty", "frequency_penalty", "seed", "n", "max_tokens", "min_tokens"),
    }
)
OTHERS = frozenset({"messages", "principles", "examples", "stop", "logit_bias", "rewards", "chat_template_kwargs"})
FIELDS = TEXTS | NUMBERS | OTHERS
UNKNOWN_COLUMN = (
    "{table} has a column {column!r}, which is no field of an item: say what it is by --column {column}=FIELD, "
    "or leave it out by --column {column}= (in Python: columns={{{column!r}: FIELD}})."
)
SAME_COLUMN = "{table} has two columns that are {field!r}."
IS_CSV = (
    "{name} looks like CSV, and JSON lines are expected: give it a name that ends in .csv, or say --csv (in Python: "
    "columns={{}})."
)


class Frame(Protocol):
    """A data frame, as pandas has it; polars has `to_dicts` beside."""

    @property
    def columns(self) -> Any:  # noqa: ANN401 - an index in one library, a list in another
        """The names of its columns."""

    def to_dict(self, orient: Any = ...) -> Any:  # noqa: ANN401 - overloaded there
        """The rows as dictionaries, for the orientation "records"."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one table, in order, and the field that each holds."""

    names: Sequence[str]
    fields: Sequence[str]
    """The field that each column holds; empty where it is left out."""

    def name_of(self, field: str) -> str | None:
        """The name of the column that holds a field; None where none does."""
        return next((name for name, held in zip(self.names, self.fields, strict=True) if held == field), None)


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A CSV file that is being read: its first line names the columns."""

    name: str
    columns: Columns
    reader: Any

    def items(self) -> Iterator[tuple[int, dict[str, object]]]:
        """Each row as an item, with the line on which it begins."""
        number, line, fields = 0, self.reader.line_num + 1, self.columns.fields
        try:
            for row in self.reader:
                if len(row) > len(fields):
                    raise SourceError(f"Line {line} of {self.name} has {len(row)} cells, its header {len(fields)}.")
                if any(cell.strip() for cell in row):
                    number += 1
                    yield line, _item(zip(fields, map(read_cell, row), strict=False), number)
                line = self.reader.line_num + 1
        except csv.Error as error:
            raise SourceError(f"Line {line} of {self.name} is not CSV: {csv_fault(error)}.") from error
        except UnicodeDecodeError as error:
            raise _not_unicode(self.name) from error


def read_csv(file: IO[bytes], name: str, columns: Mapping[str, str]) -> CsvRows:
    """A CSV file whose first line is read. `columns` gives columns the names of fields."""
    refuse_other_formats(file.read(MOST_MAGIC_BYTES), name)
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        header = text.readline()
        if not header.strip():
            raise SourceError(f"{name} is no CSV: its first line has to name the columns.")
        text.seek(0)
        lines = map(_unmarked, text)  # holds the file as long as the reader is held; a generator lets go at its end
        reader = csv.reader(lines, delimiter=max(DELIMITERS, key=header.count), strict=True)
        return CsvRows(name, columns_of(next(reader, []), name, columns), reader)
    except UnicodeDecodeError as error:
        raise _not_unicode(name) from error
    except csv.Error as error:
        raise SourceError(f"Line 1 of {name} is not CSV: {csv_fault(error)}.") from error


def looks_like_csv(start: bytes) -> bool:
    """Whether a file of JSON lines begins like a table."""
    line = start.removeprefix(b"\xef\xbb\xbf").strip().partition(b"\n")[0].strip()
    return not line.startswith((b"{", b"[")) and any(delimiter.encode() in line for delimiter in DELIMITERS)


def frame_items(source: object, columns: Mapping[str, str]) -> Iterator[dict[str, object]] | None:
    """The rows of a data frame as items; None where the source is none."""
    if not hasattr(source, "columns") or not hasattr(source, "to_dict"):
        return None
    rows: Iterable[Mapping[Any, object]]
    rows = source.to_dicts() if hasattr(source, "to_dicts") else source.to_dict("records")
    fields = columns_of([str(column) for column in source.columns], "The data frame", columns).fields
    return (_item(zip(fields, row.values(), strict=True), number) for number, row in enumerate(rows, start=1))


def columns_of(names: Sequence[str], table: str, columns: Mapping[str, str]) -> Columns:
    """What each column holds; raises SourceError for one that holds no field, and for two that hold the same."""
    stripped = [name.replace(BYTE_ORDER_MARK, "").strip() for name in names]
    fields = [columns.get(name, name) for name in stripped]
    for place, (name, field) in enumerate(zip(stripped, fields, strict=True)):
        if field and field not in FIELDS:
            raise SourceError(UNKNOWN_COLUMN.format(table=table, column=name))
        if field and field in fields[:place]:
            raise SourceError(SAME_COLUMN.format(table=table, field=field))
    return Columns(stripped, fields)


def _item(cells: Iterable[tuple[str, object]], number: int) -> dict[str, object]:
    """Without a `custom_id` rows are counted, from 1."""
    said = {field: _value(field, _plain(cell)) for field, cell in cells if field and not _is_empty(cell)}
    return {"custom_id": str(number), **said}


def _unmarked(line: str) -> str:
    return line.lstrip(BYTE_ORDER_MARK)


def _not_unicode(name: str) -> SourceError:
    return SourceError(f'{name} is not UTF-8 text: save it as "CSV UTF-8".')


def _is_empty(cell: object) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in {"NAType", "NaTType"}
    )


def _plain(cell: object) -> object:
    value = cell.item() if hasattr(cell, "item") else cell
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a column of integers with gaps is one of floats
    return value


def _value(field: str, value: object) -> object:
    """What a cell says, in the type that its field has; what has another is sent as it is, and refused in its place."""
    if field in TEXTS:
        return str(value)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value.strip().replace(",", ".") if field in NUMBERS else value)
    except ValueError:
        return value
