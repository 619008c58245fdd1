"""What a client is sent while an answer grows: each character once, and joined the stored result or an error."""

import pytest

from api.streams.growing_texts import GrowingTexts, NewText, TextChangedError
from domain.text_pieces import Piece


def a_piece(offset: int, text: str, *, attempt: int = 1, choice: int = 0) -> Piece:
    return Piece("process.name", attempt, choice, offset, text)


def test_pieces_that_follow_each_other_are_sent_as_they_come() -> None:
    texts = GrowingTexts()

    assert texts.hear([a_piece(0, "Tea ")]) == [NewText(0, "Tea ")]
    assert texts.hear([a_piece(4, "is "), a_piece(7, "good")]) == [NewText(0, "is good")]
    assert texts.end(["Tea is good."]) == [NewText(0, ".")]


def test_choices_grow_apart_from_each_other() -> None:
    texts = GrowingTexts()

    heard = texts.hear([a_piece(0, "one"), a_piece(0, "two", choice=1), a_piece(3, "s")])

    assert heard == [NewText(0, "ones"), NewText(1, "two")]
    assert texts.end(["ones", "two", "three"]) == [NewText(2, "three")]


def test_what_stands_behind_a_gap_waits_for_the_result() -> None:
    texts = GrowingTexts()

    assert texts.hear([a_piece(0, "Tea "), a_piece(7, "good")]) == [NewText(0, "Tea ")]
    assert texts.hear([a_piece(11, ".")]) == []
    assert texts.end(["Tea is good."]) == [NewText(0, "is good.")]


@pytest.mark.parametrize("attempt", [1, 2], ids=["its engine", "its worker"])
def test_an_attempt_that_is_begun_again_is_silent_until_it_says_more(attempt: int) -> None:
    texts = GrowingTexts()
    texts.hear([a_piece(0, "Tea is ")])

    assert texts.hear([a_piece(0, "Te", attempt=attempt)]) == []
    assert texts.hear([a_piece(2, "a is", attempt=attempt)]) == []
    assert texts.hear([a_piece(6, " good", attempt=attempt)]) == [NewText(0, "good")]


def test_of_an_attempt_whose_beginning_was_lost_nothing_is_joined_to_the_one_before() -> None:
    texts = GrowingTexts()
    texts.hear([a_piece(0, "Tea is ")])

    assert texts.hear([a_piece(7, "good", attempt=2)]) == []
    assert texts.end(["Tea is not"]) == [NewText(0, "not")]


def test_a_worker_that_has_lost_the_item_is_not_listened_to() -> None:
    texts = GrowingTexts()
    texts.hear([a_piece(0, "Tea ", attempt=2)])

    assert texts.hear([a_piece(4, "was", attempt=1)]) == []
    assert texts.hear([a_piece(4, "is", attempt=2)]) == [NewText(0, "is")]


def test_what_comes_out_differently_is_an_error_as_soon_as_it_is_known() -> None:
    texts = GrowingTexts()
    texts.hear([a_piece(0, "Tea is ")])
    texts.hear([a_piece(0, "Tea", attempt=2)])

    with pytest.raises(TextChangedError):
        texts.hear([a_piece(3, "s are", attempt=2)])


@pytest.mark.parametrize("text", ["Tea", "Coffee", ""])
def test_a_result_that_does_not_begin_with_what_was_sent_is_an_error(text: str) -> None:
    texts = GrowingTexts()
    texts.hear([a_piece(0, "Tea is ")])

    with pytest.raises(TextChangedError):
        texts.end([text])
