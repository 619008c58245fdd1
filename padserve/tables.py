"""Items from tables: CSV files and data frames, a row each. An empty cell is not said."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

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
    "{table} has a column {column!r}, which is no field of an item: say what it is, or leave it out, by {how}"
)
HOW = "columns={{{column!r}: FIELD}}, an empty FIELD for leaving out."


class Frame(Protocol):
    """A data frame, as pandas has it; polars has `to_dicts` beside."""

    @property
    def columns(self) -> Any:  # noqa: ANN401 - an index in one library, a list in another
        """The names of its columns."""

    def to_dict(self, orient: Any = ...) -> Any:  # noqa: ANN401 - overloaded there
        """Its rows, for "records"."""


def csv_items(file: IO[bytes], name: str, columns: Mapping[str, str]) -> Iterator[tuple[int, dict[str, object]]]:
    """Each row as an item, with the line on which it begins. `columns` gives columns the names of fields.

    The first line names the columns. Without a `custom_id` rows are counted, from 1.
    """
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            header = text.readline()
            text.seek(0)
            reader = csv.reader(text, delimiter=max(DELIMITERS, key=header.count), strict=True)
            fields = fields_of(next(reader, []), name, columns)
            yield from _csv_rows(reader, fields, name)
        except UnicodeDecodeError as error:
            raise SourceError(f'{name} is not UTF-8 text: save it as "CSV UTF-8".') from error


def _csv_rows(reader: Any, fields: Sequence[str], name: str) -> Iterator[tuple[int, dict[str, object]]]:  # noqa: ANN401 - csv's own type has no name at run time
    number, line = 0, reader.line_num + 1
    try:
        for row in reader:
            if len(row) > len(fields):
                raise SourceError(f"Line {line} of {name} has {len(row)} cells, its header {len(fields)}.")
            if any(cell.strip() for cell in row):
                number += 1
                yield line, _item(zip(fields, row, strict=False), number)
            line = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"Line {line} of {name} is not CSV: {error}.") from error


def frame_items(source: object, columns: Mapping[str, str]) -> Iterator[dict[str, object]] | None:
    """The rows of a data frame as items; None where the source is none."""
    if not hasattr(source, "columns") or not hasattr(source, "to_dict"):
        return None
    rows: Iterable[Mapping[Any, object]]
    rows = source.to_dicts() if hasattr(source, "to_dicts") else source.to_dict("records")
    names = [str(column) for column in source.columns]
    fields = fields_of(names, "The data frame", columns)
    return (_item(zip(fields, row.values(), strict=True), number) for number, row in enumerate(rows, start=1))


def fields_of(names: Sequence[str], table: str, columns: Mapping[str, str]) -> list[str]:
    """The field of an item that each column holds, empty for none; raises SourceError for what is none of both."""
    fields = [columns.get(name.strip(), name.strip()) for name in names]
    for name, field in zip(names, fields, strict=True):
        if field and field not in FIELDS:
            how = HOW.format(column=name.strip())
            raise SourceError(UNKNOWN_COLUMN.format(table=table, column=name.strip(), how=how))
    return fields


def _item(cells: Iterable[tuple[str, object]], number: int) -> dict[str, object]:
    values = {field: _value(field, cell) for field, cell in cells if field and not _is_empty(cell)}
    return {"custom_id": str(number), **values}


def _is_empty(cell: object) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in {"NAType", "NaTType"}
    )


def _value(field: str, cell: object) -> object:
    """What a cell says, in the type that its field has; what has another is sent as it is, and refused in its place."""
    value = cell.item() if hasattr(cell, "item") else cell
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of integers with gaps is one of floats
    if field in TEXTS:
        return str(value)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value.strip().replace(",", ".") if field in NUMBERS else value)
    except ValueError:
        return value
