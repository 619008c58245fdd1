"""Files that a command line names: whether one can be written, and what is wrong with one, in a sentence."""

from pathlib import Path
from tempfile import TemporaryFile


class PlaceError(Exception):
    """A report cannot be written where it is wanted."""


def check_place(out: Path) -> None:
    """Make the folder of a file that is to be written; raises PlaceError now, and not when all has been measured."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise PlaceError(f"Cannot write {out}: {error.strerror}.") from error
    if out.is_dir():
        raise PlaceError(f"Cannot write {out}: it is a folder.")


def sentence_of(error: Exception) -> str:
    """What an error says; one of a file or a disk by its name and reason."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"Cannot use {error.filename or 'a file'}: {error.strerror}."
