"""A completion ends where the client's stop text appears, and the text ends before it."""

import pytest

from tests.tiny_model import a_tokenizer
from worker.stops import StopTexts, text_before


def ids(text: str) -> list[int]:
    return list(a_tokenizer().encode(text, add_special_tokens=False))


def test_a_completion_ends_with_the_token_that_completes_a_stop_text() -> None:
    stop = StopTexts(a_tokenizer(), ["END", "STOP"])
    token_ids = ids("some text END")

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None] * (len(token_ids) - 1) + [len(token_ids)]


def test_a_stop_text_of_several_bytes_a_character_is_found() -> None:
    stop = StopTexts(a_tokenizer(), ["🫖🫖"])

    assert stop(ids("a long text before it 🫖🫖")) is not None
    assert stop(ids("a long text before it 🫖")) is None


@pytest.mark.parametrize(
    ("stops", "expected"),
    [((), "one two three"), (("two",), "one "), (("three", "one"), ""), (("four",), "one two three")],
)
def test_the_text_ends_before_the_earliest_stop_text(stops: tuple[str, ...], expected: str) -> None:
    assert text_before("one two three", stops) == expected
