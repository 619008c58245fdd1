"""What goes wrong in a text is counted in words, whatever the punctuation and the capitals."""

from evaluation.texts import echoes, names, repetition


def test_a_text_without_a_repeated_run_of_four_words_does_not_repeat_itself() -> None:
    assert repetition("The order will arrive on Friday, and the parcel needs no signature.") == 0.0


def test_a_loop_repeats_nearly_all_of_its_runs() -> None:
    assert repetition("awesome, " * 40) > 0.95


def test_punctuation_and_capitals_do_not_hide_a_repetition() -> None:
    assert repetition("We are glad to help. WE ARE, glad to help!") > 0.0


def test_a_text_too_short_for_a_run_of_four_words_repeats_nothing() -> None:
    assert repetition("Yes, yes, yes.") == 0.0


SHOWN = "Please write it in this style: very formal."


def test_four_words_of_what_was_shown_are_an_echo() -> None:
    assert echoes("Sure! Please write it in THIS way, they said.", SHOWN)


def test_three_words_of_what_was_shown_are_none() -> None:
    assert not echoes("Please write it down.", SHOWN)


def test_words_that_the_client_wrote_as_well_are_no_echo() -> None:
    assert not echoes("Please write it in this style", SHOWN, known=["Please write it in this style"])


def test_all_of_something_short_is_an_echo_and_two_words_are_not() -> None:
    assert echoes("I am very very formal today", "Very very formal.")
    assert not echoes("I am very formal today", "very formal")


def test_a_text_that_says_what_it_should_be_names_the_principle() -> None:
    assert names("Cheerful and enthusiastic: a newsletter.", "cheerful and enthusiastic")
    assert not names("What a lovely day, and what a newsletter!", "cheerful and enthusiastic")


def test_a_word_of_the_prompt_and_a_short_word_name_nothing() -> None:
    assert not names("A cheerful newsletter.", "cheerful", known=["Write a cheerful newsletter."])
    assert not names("I like it.", "like a pirate")
