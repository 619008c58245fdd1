import random
import re
import subprocess
import sys
from dataclasses import astuple
from functools import cache
from pathlib import Path

import pytest

from evaluation.rules import PLACE, contains
from examples.demo.corpus import ALL_NAMES, ALL_SEEN, UNSEEN_TOGETHER, Example, TrainingPair, examples, preference_pairs
from examples.demo.parts import AVOID, CLOSE, OPEN, PARTS, UNSEEN_PARTS
from examples.demo.principles import BY_NAME, PRINCIPLES, UNSEEN, DemoPrinciple, kept
from examples.demo.topics import (
    HELD_OUT_INVENTED,
    HELD_OUT_NAMES,
    HELD_OUT_REAL,
    HELD_OUT_THINGS,
    HELD_OUT_TOPICS,
    training_name,
    training_topic,
)

STYLE_OF = {wording: principle for principle in PRINCIPLES for wording in principle.wordings}


@cache
def many_examples() -> list[Example]:
    return list(examples(seed=11, num_examples=5_000))


@cache
def many_pairs() -> list[TrainingPair]:
    return list(preference_pairs(seed=13, num_pairs=2_000))


def principle_of(wording: str) -> DemoPrinciple:
    """What a guideline asks for, its value included."""
    if wording in STYLE_OF:
        return STYLE_OF[wording]
    for part in PARTS:
        for template in part.wordings:
            start, end = template.split(PLACE)
            if wording.startswith(start) and wording.endswith(end):
                return part.asking(wording.removeprefix(start).removesuffix(end))
    raise AssertionError(wording)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_no_held_out_word_occurs_in_the_training_corpus() -> None:
    corpus: set[str] = set()
    for example in many_examples():
        corpus |= words(f"{example.prompt} {' '.join(example.principles)} {example.answer}")
    for pair in many_pairs():
        corpus |= words(f"{pair.prompt} {' '.join(pair.principles)} {pair.chosen} {pair.rejected}")

    held_out = words(" ".join((*HELD_OUT_TOPICS, *HELD_OUT_THINGS, *HELD_OUT_NAMES)))

    assert len(corpus) > 5_000
    assert corpus & held_out == set()


def test_held_out_topics_are_distinct_words() -> None:
    assert len(set(HELD_OUT_TOPICS)) == len(HELD_OUT_REAL) + len(HELD_OUT_INVENTED) == len(HELD_OUT_TOPICS)


def test_the_corpus_is_the_same_for_the_same_seed() -> None:
    assert list(examples(seed=1, num_examples=50)) == list(examples(seed=1, num_examples=50))
    assert list(preference_pairs(seed=1, num_pairs=50)) == list(preference_pairs(seed=1, num_pairs=50))


def test_the_corpus_is_the_same_in_another_process() -> None:
    program = (
        "from examples.demo.corpus import examples, preference_pairs;"
        "print(list(examples(seed=1, num_examples=200)), list(preference_pairs(seed=1, num_pairs=200)))"
    )

    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(texts) == 1


def test_asked_principles_are_kept_more_often_than_unasked_ones_but_not_reliably() -> None:
    asked = {name: [0, 0] for name in BY_NAME}
    unasked = {name: [0, 0] for name in BY_NAME}
    for example in many_examples()[:4_000]:
        wanted = {principle_of(wording).name for wording in example.principles}
        for name, principle in BY_NAME.items():
            counts = asked[name] if name in wanted else unasked[name]
            counts[0] += principle.satisfies(example.answer)
            counts[1] += 1

    for name in BY_NAME:
        assert 0.3 < asked[name][0] / asked[name][1] < 0.7
        assert unasked[name][0] / unasked[name][1] < 0.15


def test_only_the_chosen_answer_of_a_pair_keeps_everything_asked_for() -> None:
    for pair in many_pairs()[:500]:
        wanted = [principle_of(wording) for wording in pair.principles]

        assert all(principle.satisfies(pair.chosen) for principle in wanted)
        assert not all(principle.satisfies(pair.rejected) for principle in wanted)


def test_unseen_principles_are_in_the_corpus_and_in_no_pair() -> None:
    in_corpus = {principle_of(wording).name for example in many_examples()[:500] for wording in example.principles}
    in_pairs = {principle_of(wording).name for pair in many_pairs()[:500] for wording in pair.principles}

    assert in_corpus == set(ALL_NAMES)
    assert in_pairs == set(ALL_SEEN) == set(ALL_NAMES) - set(UNSEEN) - set(UNSEEN_PARTS)


def test_unseen_phrases_are_in_no_training_text_and_unseen_words_to_avoid_in_no_pair() -> None:
    corpus = [text for one in many_examples() for text in (one.answer, *one.principles)]
    pairs = many_pairs()
    texts = [*corpus, *(text for pair in pairs for text in (pair.chosen, pair.rejected, *pair.principles))]
    avoided = {
        principle.value
        for pair in pairs
        for principle in map(principle_of, pair.principles)
        if principle.name == AVOID.name
    }

    assert not [phrase for phrase in OPEN.unseen_values if any(phrase in text for text in texts)]
    assert CLOSE.unseen_values == OPEN.unseen_values
    assert avoided == set(AVOID.values)
    assert not avoided & set(AVOID.unseen_values)


def test_every_word_of_an_unseen_phrase_is_in_a_known_one() -> None:
    known = words(" ".join(OPEN.values))

    assert words(" ".join(OPEN.unseen_values)) == known
    assert not set(OPEN.unseen_values) & set(OPEN.values)


def test_no_pair_asks_for_two_principles_that_are_to_be_an_unseen_combination() -> None:
    asked = [frozenset(principle_of(wording).name for wording in pair.principles) for pair in many_pairs()]

    assert not [names for names in asked for pair in UNSEEN_TOGETHER if pair <= names]
    assert {1, 2, 3} == {len(names) for names in asked}
    for pair in UNSEEN_TOGETHER:
        assert all(sum(name in names for names in asked) > 50 for name in pair)


def test_the_word_to_avoid_is_not_in_what_a_text_has_to_say() -> None:
    for pair in many_pairs()[:1_000]:
        asked = [principle_of(wording) for wording in pair.principles]
        avoided = [one.value for one in asked if one.name == AVOID.name and one.value]

        assert not any(contains(str(one.value), (word,)) for word in avoided for one in asked if one.name != AVOID.name)


@pytest.mark.parametrize("seed", range(0, 2_000, 100))
def test_no_training_topic_or_name_keeps_a_style_by_its_own_words(seed: int) -> None:
    for number in range(seed, seed + 100):
        for draw in (training_topic, training_name):
            assert kept(draw(random.Random(number))) == kept("topic")


def test_texts_of_a_pair_do_not_tell_the_principle_by_their_prompt() -> None:
    prompts = {astuple(pair)[0] for pair in many_pairs()[:300]}

    assert len(prompts) > 290
