"""Files that people take for text and are none, known by their first bytes: what each is, and what to do."""

import codecs

from padserve.errors import SourceError

MOST_MAGIC_BYTES = 4
_UTF_16 = "UTF-16 text: save it as UTF-8."
_BEGINNINGS = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"\x1f\x8b": "compressed (gzip): unpack it first, as in `gzip -cd {name} | padserve ... -`.",
    b"PK\x03\x04": "a spreadsheet or another archive (ZIP), and no text: save it as CSV in UTF-8.",
}


def refuse_other_formats(start: bytes, name: str) -> None:
    """Raise SourceError where a file that begins so is UTF-16, gzip or ZIP: `MOST_MAGIC_BYTES` tell."""
    for beginning, what in _BEGINNINGS.items():
        if start.startswith(beginning):
            raise SourceError(f"{name} is {what.format(name=name)}")
