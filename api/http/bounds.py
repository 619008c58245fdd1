"""The types of what clients send and the database compares or keeps: each as large as its column, and no larger.

A parameter has one of these types, or another with bounds of its own; a test goes through all of them.
"""

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

MAX_INTEGER = 2**31 - 1
MAX_HEADER_CHARACTERS = 4096
MAX_MODEL_CHARACTERS = 512


def _written_out(value: object) -> object:
    """A number would be taken for seconds or for milliseconds, as it is small or large."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise PydanticCustomError("moment", "Write a moment with its time zone, as in 2026-12-24T08:00:00Z.")
    return value


def _in_utc(moment: dt.datetime) -> dt.datetime:
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise PydanticCustomError("moment", "Must be between the years 1 and 9999 in UTC.") from None


Position = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Version = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
TagsOfEntities = Annotated[str, StringConstraints(max_length=MAX_HEADER_CHARACTERS)]
ModelName = Annotated[str, StringConstraints(max_length=MAX_MODEL_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]*$")]
_NUMBER = re.compile(r"[\s0-9.eE+-]+")
UtcMoment = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_written_out)]
