"""Short texts of a command line: TEXT=WEIGHT, NAME=VALUE, and files that hold a text."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from padserve.errors import SourceError

if TYPE_CHECKING:
    from padserve.client.answers import Principle


def read_principle(text: str) -> "Principle":
    """The principle that is written as TEXT or TEXT=WEIGHT."""
    from padserve.client.answers import Principle

    words, separator, weight = text.rpartition("=")
    try:
        principle = Principle(words, float(weight)) if separator else Principle(text)
    except ValueError:
        return Principle(text)
    if not math.isfinite(principle.weight):
        raise typer.BadParameter(f"The weight of {words!r} must be a finite number.", param_hint="--principle")
    return principle


def read_text(path: Path) -> str:
    """The text in a file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text.") from error


def name_and_value(text: str, flag: str) -> tuple[str, str]:
    """Name and value of what is written as NAME=VALUE; refuses other texts in the name of `flag`."""
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE.", param_hint=flag)
    return name, value
