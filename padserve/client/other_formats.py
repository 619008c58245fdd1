"""Files that people take for text and are none: refused by name, before anything is sent."""

from domain.text_files import GZIP, MOST_MAGIC_BYTES, foreign_format
from padserve.errors import SourceError

__all__ = ["MOST_MAGIC_BYTES", "refuse_other_formats"]


def refuse_other_formats(start: bytes, name: str) -> None:
    """Raise SourceError where a file that begins so is UTF-16, gzip or ZIP: `MOST_MAGIC_BYTES` tell."""
    what = foreign_format(start)
    if what == GZIP:
        raise SourceError(f"{name} is {what}, as in `gzip -cd {name} | padserve ... -`.")
    if what is not None:
        raise SourceError(f"{name} is {what}.")
