"""What becomes of a delivery after an attempt: delivered, tried again later, or given up. Decides only."""

import datetime as dt
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

PAUSES_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""What lies between two attempts: ten of them over three days."""
JITTER = 0.2
MAX_RETRY_AFTER_SECONDS = 86_400
GONE = 410
GONE_REASON = "The receiver answered 410 Gone."


@dataclass(frozen=True, slots=True)
class Answer:
    """What an attempt met: a status, or in words why there is none."""

    status_code: int | None
    fault: str | None = None
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken the event. A redirect is no success, and is not followed."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004 - HTTP's own borders

    @property
    def said(self) -> str:
        """The failure in words, without a word of the receiver's."""
        return self.fault or f"The receiver answered {self.status_code}."


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took the event: there is nothing more to do."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """It is tried again in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It is not tried again; with a reason, nothing is sent there any more."""

    disables: str | None = None


def decide(answer: Answer, num_tries: int, draws: random.Random | None = None) -> Delivered | Postponed | GivenUp:
    """What becomes of a delivery that was tried so often. A receiver may ask for a later attempt, within a day."""
    if answer.is_success:
        return Delivered()
    if answer.status_code == GONE:
        return GivenUp(GONE_REASON)
    if num_tries > len(PAUSES_SECONDS):
        return GivenUp()
    pause = PAUSES_SECONDS[num_tries - 1] * (draws or random).uniform(1 - JITTER, 1 + JITTER)
    return Postponed(max(pause, min(answer.retry_after_seconds or 0, MAX_RETRY_AFTER_SECONDS)))


def read_retry_after(text: str, now: dt.datetime) -> float | None:
    """The seconds that a `Retry-After` header asks for, as a number or a date; None for anything else."""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(2**31)):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or dt.UTC) - now).total_seconds(), 0.0)
