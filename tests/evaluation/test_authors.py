"""Ten invented authors: what is shown is not what attributes, styles are told apart, and topics are not."""

from pathlib import Path

import pytest

from evaluation.real.authors.attribution import Attributor, left_out
from evaluation.real.authors.prompts import TEST_PROMPTS, VALIDATION_PROMPTS
from evaluation.real.authors.texts import NUM_EXAMPLES, TOPICS, Author, TextsError, read_authors


@pytest.fixture(scope="module")
def authors() -> tuple[Author, ...]:
    return read_authors()


@pytest.fixture(scope="module")
def attributor(authors: tuple[Author, ...]) -> Attributor:
    return Attributor({author.name: author.references for author in authors})


def test_there_are_ten_authors_with_a_short_text_on_every_topic(authors: tuple[Author, ...]) -> None:
    lengths = [len(text.split()) for author in authors for text in (*author.examples, *author.references)]

    assert len(authors) == len({author.style for author in authors}) == 10
    assert all(len(author.examples) + len(author.references) == len(TOPICS) for author in authors)
    assert 25 <= min(lengths) <= max(lengths) <= 60


def test_no_text_is_both_shown_and_a_reference(authors: tuple[Author, ...]) -> None:
    shown = [text for author in authors for text in author.examples]
    references = [text for author in authors for text in author.references]

    assert len(set(shown)) == len(shown)
    assert len(set(references)) == len(references)
    assert not set(shown) & set(references)


def test_no_prompt_that_chooses_is_one_that_measures() -> None:
    assert len(set(TEST_PROMPTS)) == len(TEST_PROMPTS) >= 20
    assert not set(TEST_PROMPTS) & set(VALIDATION_PROMPTS)


def test_an_authors_file_with_a_text_too_few_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("# Short.\n\nOne text.\n")

    with pytest.raises(TextsError, match="1 texts"):
        read_authors(tmp_path)


def test_reference_texts_left_out_in_turn_are_attributed_to_their_authors(authors: tuple[Author, ...]) -> None:
    outcomes = left_out({author.name: author.references for author in authors})

    assert len(outcomes) == 10 * (len(TOPICS) - NUM_EXAMPLES)
    assert sum(name == found for name, found in outcomes) >= 0.9 * len(outcomes)


def test_examples_that_the_attributor_never_saw_are_attributed_even_by_their_first_words(
    authors: tuple[Author, ...], attributor: Attributor
) -> None:
    beginnings = [(author, " ".join(text.split(" ")[:20])) for author in authors for text in author.examples]

    assert all(attributor.author(beginning) == author.name for author, beginning in beginnings)


def test_a_topic_does_not_tell_its_author(authors: tuple[Author, ...]) -> None:
    by_topic = {topic: [author.references[place] for author in authors] for place, topic in enumerate(TOPICS[4:])}
    shuffled = {topic: texts[place:] + texts[:place] for place, (topic, texts) in enumerate(by_topic.items())}
    mixed = {str(place): [texts[place] for texts in shuffled.values()] for place in range(10)}

    right = [name == found for name, found in left_out(mixed)]

    assert sum(right) <= 0.2 * len(right)  # "authors" of one text of each style: nothing but topics could tell them


def test_an_attribution_is_the_same_again_and_none_where_nothing_is_shared(attributor: Attributor) -> None:
    text = "och, the wee train is late an ye'll no get hame"

    assert attributor.author(text) == "scots"
    assert attributor.scores(text) == attributor.scores(text)
    assert attributor.author("") is None
    assert attributor.author("日本語") is None
