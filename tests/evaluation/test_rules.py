import pytest
from pydantic import ValidationError

from evaluation.rules import Rule, contains, num_words


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        (Rule(contains_any=("take care", "thanks")), "Well, Take Care!", "They partake careless."),
        (Rule(contains_any=("?",)), "Ready?", "Ready."),
        (Rule(not_contains=("!", "'")), "Kindly wait.", "Don't wait."),
        (Rule(not_contains=("cat",)), "A concatenation.", "A cat."),
        (Rule(max_words=2), "Two words.", "Now there are four."),
        (Rule(min_words=2), "Two words.", "One."),
        (Rule(regex=r"(?:^|\. )Book\b"), "Fine. Book now.", "A book."),
        (Rule(starts_with=("dear", "hello")), " Dear Ann, hi.", "Hi, dear Ann."),
        (Rule(ends_with=("bye.",)), "And so, bye. ", "Bye. And so"),
        (Rule(all=(Rule(min_words=1), Rule(max_words=2))), "One two", "One two three"),
        (Rule(any=(Rule(contains_any=("a",)), Rule(contains_any=("b",)))), "b", "c"),
    ],
    ids=[
        *("contains_any", "contains_any punctuation", "not_contains punctuation", "not_contains part of a word"),
        *("max_words", "min_words", "regex", "starts_with", "ends_with", "all", "any"),
    ],
)
def test_a_rule_tells_texts_that_keep_it_from_texts_that_do_not(rule: Rule, kept: str, broken: str) -> None:
    assert rule.check()(kept)
    assert not rule.check()(broken)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"max_words": 3, "min_words": 1}',
        '{"max_words": null}',
        '{"contains_any": []}',
        '{"contains_any": [""]}',
        '{"regex": "("}',
        '{"max_words": -1}',
        '{"sounds_like": "a duck"}',
        '{"all": [{"max_words": 3}, {}]}',
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate_json(body)


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (Rule(contains_any=("the {value}", "a {value}")), Rule(contains_any=("the 1.5", "a 1.5"))),
        (Rule(regex="^{value}$"), Rule(regex=r"^1\.5$")),
        (
            Rule(all=(Rule(ends_with=("{value}",)), Rule(max_words=3))),
            Rule(all=(Rule(ends_with=("1.5",)), Rule(max_words=3))),
        ),
    ],
    ids=["phrases", "a pattern", "rules within rules"],
)
def test_a_value_goes_wherever_the_rule_has_a_place_for_it(rule: Rule, filled: Rule) -> None:
    assert rule.has_place
    assert rule.with_value("1.5") == filled
    assert not filled.has_place


def test_words_may_hold_apostrophes_and_hyphens() -> None:
    assert num_words("It's a well-known, 2nd try!") == 5


def test_a_phrase_is_found_as_whole_words_only() -> None:
    assert contains("Your Espresso Grinder is here.", ("espresso grinder",))
    assert not contains("Two kayaks", ("kayak",))
