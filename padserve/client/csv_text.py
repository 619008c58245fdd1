"""Values as cells of CSV (RFC 4180). A text that a spreadsheet would take for a formula gets an apostrophe in front.

It is the server's rule for results, and the server takes the apostrophe off again from what is imported.
"""

import csv
import io
import json
import re
from collections.abc import Iterable

BYTE_ORDER_MARK = "\ufeff"
"""At the start of a file, by which spreadsheets know it as UTF-8."""
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?")


def csv_line(values: Iterable[object]) -> str:
    """One record, without the line feed that ends it; None is an empty cell, lists and objects are JSON."""
    line = io.StringIO()
    csv.writer(line).writerow(map(_cell, values))
    return line.getvalue().removesuffix("\n")


def read_cell(text: str) -> str:
    """The text that `csv_line` wrote as this cell: without the apostrophe that guards a formula."""
    return text[1:] if text.startswith("'") and _guarded(text[1:]) == text else text


def _guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else value
    return _guarded(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
