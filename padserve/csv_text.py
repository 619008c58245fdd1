"""Values as cells of CSV (RFC 4180). A text that a spreadsheet would take for a formula gets an apostrophe in front.

What is read as a cell loses that apostrophe again, so that whatever is written is read as it was.
"""

import csv
import io
import json
import re
from collections.abc import Iterable

BYTE_ORDER_MARK = "\ufeff"
"""Spreadsheets take a file without one for something else than UTF-8."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_line(values: Iterable[object]) -> str:
    """One record, without the line feed that ends it; None is an empty cell, lists and objects are JSON."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r").writerow(map(_cell, values))
    return line.getvalue()


def read_cell(text: str) -> str:
    """What was written as this cell."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if _FORMULA.match(text) else text
