"""When a job is wanted, on the wire: its completion window, and its times as clients see them."""

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from api.http.bounds import UtcMoment
from api.profiles.schemas import StrictModel
from db.queries.jobs import Schedule
from domain.priorities import Priority

SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
MAX_WINDOW_SECONDS = 366 * SECONDS["d"]


def window_seconds(window: str) -> int:
    """The length of a completion window; one that was checked."""
    return int(window[:-1]) * SECONDS[window[-1]]


def as_window(seconds: int) -> str:
    """A length as a completion window, in the largest unit that fits."""
    unit, size = next((unit, size) for unit, size in SECONDS.items() if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _check_window(window: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,7}[smhd]", window) or window_seconds(window) > MAX_WINDOW_SECONDS:
        raise PydanticCustomError("completion_window", "Write a number and s, m, h or d, as in 24h; 366 days at most.")
    return window


CompletionWindow = Annotated[str, AfterValidator(_check_window)]


class ScheduleFields(StrictModel):
    """When a job is wanted."""

    priority: Priority = Field(
        default=Priority.NORMAL,
        strict=False,
        description="Which of your own jobs goes first; it takes nothing from other tenants, and nothing starves.",
    )
    completion_window: CompletionWindow | None = Field(
        default=None,
        description="How long the job has from its submission on, as in `24h`. What has not ended then never will: "
        "the job is `expired`, what is finished is kept. No end if unsaid.",
        examples=["24h"],
    )
    not_before: UtcMoment | None = Field(
        default=None, strict=False, description="Nothing is decoded before this moment, which has a time zone."
    )

    @field_validator("not_before")
    @classmethod
    def _within_the_window(cls, not_before: dt.datetime | None, stated: ValidationInfo) -> dt.datetime | None:
        window = stated.data.get("completion_window")
        if not_before is not None and window is not None:
            end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=window_seconds(window))
            if not_before >= end:
                raise PydanticCustomError("not_before", "The completion window ends before this moment.")
        return not_before

    @property
    def schedule(self) -> Schedule:
        """Priority, moment and window as the database keeps them, the window in seconds."""
        window = None if self.completion_window is None else window_seconds(self.completion_window)
        return Schedule(self.priority, self.not_before, window)


class PriorityBody(StrictModel):
    """Which of a tenant's jobs goes first from now on."""

    priority: Priority = Field(strict=False, description="As in a job.")
