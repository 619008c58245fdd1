"""What clients of a chaos run draw, and what they accept: neither more nor less than each kind promises."""

import random

import pytest

from tests.chaos.jobs import Kind, Submitted, deck_of


def a_row(state: str, text: str | None = None, code: str | None = None) -> dict[str, object]:
    return {"state": state, "text": text, "error": code and {"code": code}}


def test_a_deck_is_the_seeds_own_and_has_every_kind() -> None:
    decks = [deck_of(random.Random(seed), 40) for seed in (1, 1, 2)]

    assert decks[0] == decks[1] != decks[2]
    assert set(deck_of(random.Random(3), 11)) == set(Kind)


@pytest.mark.parametrize(
    ("state", "row", "prompt", "is_promised"),
    [
        ("completed", a_row("succeeded", "quick 1"), "quick 1", True),
        ("completed", a_row("succeeded", "quick 2"), "quick 1", False),
        ("completed", a_row("failed", code="worker_lost"), "quick 1", False),
        ("completed", a_row("failed", code="expired"), "quick 1", False),
        ("expired", a_row("failed", code="expired"), "quick 1", True),
        ("expired", a_row("failed", code="poisoned"), "quick 1", False),
        ("cancelled", a_row("cancelled", code="cancelled"), "quick 1", True),
        ("completed", a_row("cancelled", code="cancelled"), "quick 1", False),
        ("completed", a_row("failed", code="poisoned"), "kill", True),
        ("completed", a_row("failed", code="expired"), "kill", False),
        ("completed", a_row("succeeded", "kill"), "kill", False),
    ],
)
def test_a_result_is_what_its_job_and_prompt_promise(
    state: str, row: dict[str, object], prompt: str, *, is_promised: bool
) -> None:
    assert Submitted("1", Kind.PLAIN, [prompt]).is_as_promised(state, row, prompt) is is_promised


def test_a_job_may_only_end_as_its_kind_does_and_not_begin_too_early() -> None:
    later = Submitted("1", Kind.LATER, [], "2026-01-01T00:00:02Z")

    assert Submitted("1", Kind.PLAIN, []).complaint({"state": "expired"}) is not None
    assert Submitted("1", Kind.OVERTAKEN, []).complaint({"state": "expired"}) is None
    assert later.complaint({"state": "completed", "started_at": "2026-01-01T00:00:02.5Z"}) is None
    assert later.complaint({"state": "completed", "started_at": "2026-01-01T00:00:01Z"}) is not None
