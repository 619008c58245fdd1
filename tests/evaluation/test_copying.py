"""What a text repeats of its examples is counted, and can be taken out."""

from evaluation.real.authors.copying import copied_share, without_copied

EXAMPLE = "Och, yer parcel's been held up at the depot, so ye'll wait."


def test_a_text_that_is_its_example_is_copied_whole() -> None:
    assert copied_share(EXAMPLE, [EXAMPLE]) == 1.0
    assert without_copied(EXAMPLE, [EXAMPLE]) == without_copied(f"- {EXAMPLE}", [EXAMPLE]) == ""


def test_runs_of_five_words_are_counted_whatever_their_case_and_punctuation() -> None:
    text = "OCH! Yer parcel's been held - in Spain, for a week."

    assert copied_share(text, [EXAMPLE]) == 1 / 6  # of ten words, six runs, the first of which is copied


def test_four_words_in_a_row_are_no_copy_but_are_one_where_three_count() -> None:
    text = "Yer parcel's been held in Spain."

    assert copied_share(text, [EXAMPLE]) == 0.0
    assert without_copied(text, [EXAMPLE]) == text
    assert copied_share(text, [EXAMPLE], num_words=3) == 2 / 4
    assert without_copied(text, [EXAMPLE], num_words=3) == "in Spain."


def test_what_stands_around_a_copy_is_kept_as_written() -> None:
    text = "- Guid news:\nthe train's been held up at the depot, an ye'll bide!"

    assert without_copied(text, [EXAMPLE]) == "- Guid news:\nthe train's an ye'll bide!"


def test_a_run_does_not_reach_from_one_example_into_the_next() -> None:
    assert copied_share("at the depot ye'll wait", ["up at the depot", "ye'll wait"]) == 0.0


def test_too_few_words_and_no_words_are_no_copy() -> None:
    assert copied_share("Och.", [EXAMPLE]) == copied_share("", [EXAMPLE]) == 0.0
    assert without_copied("!!", [EXAMPLE]) == "!!"
