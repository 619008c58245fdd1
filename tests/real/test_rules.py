"""Rules that judge texts."""

import pytest

from evaluation.real import rules


@pytest.mark.parametrize("text", ["What will you cook?", "It is ready. Will you come? ", '"Shall we?"'])
def test_a_text_that_ends_with_a_question_does(text: str) -> None:
    assert rules.closing_question(text) == 1


def test_a_question_in_the_middle_is_not_at_the_end() -> None:
    assert rules.closing_question("Shall we? Come at eight.") == 0


def test_persons_are_counted_among_all_words() -> None:
    assert rules.first_person("I like my tea") == 50
    assert rules.second_person("You\u2019ll like your tea") == 50


def test_exclamation_marks_are_counted_among_the_ends_of_sentences() -> None:
    assert rules.exclamation("Come! It is ready. Bring a bag!!") == pytest.approx(100 * 2 / 3)
    assert rules.exclamation("no end") == 0


def test_pirates_are_told_from_service_messages() -> None:
    assert rules.pirate_words("Ahoy, matey! Yer parcel be on the seas.") > 40
    assert rules.pirate_words("Dear customer, your parcel will be with you tomorrow. Call me.") == 0
