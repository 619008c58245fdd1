"""What people send in the place of UTF-8 text, and what is wrong with a row of CSV, in words. Pure."""

import codecs
import csv

MOST_MAGIC_BYTES = 4
BYTE_ORDER_MARK = "\ufeff"
"""In UTF-8 it begins a file, or the next one where files were put together; it is never a part of a line."""
GZIP = "compressed (gzip): unpack it first"
_UTF_16 = "UTF-16 text: save it as UTF-8"
_BEGINNINGS = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"\x1f\x8b": GZIP,
    b"PK\x03\x04": "a spreadsheet or another archive (ZIP), and no text: save it as CSV in UTF-8",
}
_CSV_FAULTS = {
    "unexpected end of data": "a quote is left open",
    "expected after": "text follows a closing quote: a quote within a cell is written twice",
    "field larger than field limit": f"a cell has more than {csv.field_size_limit()} characters: is a quote left open?",
}


def foreign_format(start: bytes) -> str | None:
    """What a file is that begins so and is no UTF-8 text, and what to do; None where it may be text.

    `MOST_MAGIC_BYTES` tell. Text in UTF-16 or UTF-32 without a byte order mark has a zero among them, as files of
    programs have.
    """
    for beginning, what in _BEGINNINGS.items():
        if start.startswith(beginning):
            return what
    return "UTF-16 text, or no text at all: save it as UTF-8" if b"\0" in start[:MOST_MAGIC_BYTES] else None


def csv_fault(error: csv.Error) -> str:
    """What is wrong with a row that the `csv` module cannot read, in words that say what to do."""
    return next((fault for told, fault in _CSV_FAULTS.items() if told in str(error)), str(error))
