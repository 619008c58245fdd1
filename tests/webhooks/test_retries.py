"""When an event is tried again: over three days, never in step, later where the receiver asks for it, but not never."""

import datetime as dt
import random

import pytest

from api.webhooks.retries import (
    GONE_REASON,
    JITTER,
    MAX_RETRY_AFTER_SECONDS,
    PAUSES_SECONDS,
    Answer,
    Delivered,
    GivenUp,
    Postponed,
    decide,
    read_retry_after,
)

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def pause(num_tries: int, *, retry_after_seconds: float | None = None) -> float:
    decision = decide(Answer(503, retry_after_seconds=retry_after_seconds), num_tries, random.Random(7))
    assert isinstance(decision, Postponed)
    return decision.seconds


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_two_hundreds_are_success(status: int) -> None:
    assert decide(Answer(status), 1) == Delivered()


@pytest.mark.parametrize("status", [None, 199, 300, 301, 400, 404, 429, 500])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert isinstance(decide(Answer(status), 1), Postponed)


def test_pauses_grow_over_three_days_and_are_never_in_step() -> None:
    pauses = [pause(number + 1) for number in range(len(PAUSES_SECONDS))]

    assert all(
        (1 - JITTER) * planned <= drawn <= (1 + JITTER) * planned
        for planned, drawn in zip(PAUSES_SECONDS, pauses, strict=True)
    )
    assert 3 * 86_400 <= sum(PAUSES_SECONDS) <= 3.5 * 86_400
    assert decide(Answer(503), 1) != decide(Answer(503), 1)


def test_after_the_last_it_is_given_up() -> None:
    assert decide(Answer(503), len(PAUSES_SECONDS) + 1) == GivenUp()


def test_410_is_given_up_at_once_and_for_good() -> None:
    assert decide(Answer(410), 1) == GivenUp(GONE_REASON)


def test_a_receiver_may_ask_for_a_later_attempt_within_a_day_and_for_no_earlier_one() -> None:
    assert pause(1, retry_after_seconds=120) == 120
    assert pause(1, retry_after_seconds=10**9) == MAX_RETRY_AFTER_SECONDS
    assert pause(3, retry_after_seconds=0) == pause(3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1e5", None),
        ("٣", None),
        ("9" * 400, None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_nonsense_is_nothing(text: str, seconds: float | None) -> None:
    assert read_retry_after(text, NOON) == seconds
