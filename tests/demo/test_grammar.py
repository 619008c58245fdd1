import random
from itertools import combinations

import pytest

from evaluation.rules import num_words
from examples.demo.grammar import KINDS, is_well_formed, write_message
from examples.demo.parts import AVOID, CLOSE, MENTION, OPEN, PARTS, Part
from examples.demo.principles import BY_NAME, PRINCIPLES, DemoPrinciple, compatible, kept

NAMES = tuple(BY_NAME)


def messages(styles: set[str], num: int = 60) -> list[str]:
    rng = random.Random(1)
    return [write_message(rng, rng.choice(KINDS), "wozzle", styles) for _ in range(num)]


@pytest.mark.parametrize("principle", PRINCIPLES, ids=lambda principle: principle.name)
def test_texts_written_for_a_principle_keep_it_and_others_do_not(principle: DemoPrinciple) -> None:
    own = messages({principle.name})
    others = [text for name in NAMES if name != principle.name for text in messages({name}, num=10)]

    assert all(principle.satisfies(text) for text in own)
    assert not any(principle.satisfies(text) for text in others)


@pytest.mark.parametrize("kind", KINDS)
def test_up_to_three_compatible_principles_always_fit_into_one_text(kind: str) -> None:
    rng = random.Random(2)
    for size in (0, 1, 2, 3):
        for styles in map(frozenset, combinations(NAMES, size)):
            if compatible(styles):
                assert kept(write_message(rng, kind, "garden club", styles, "Anna")) == styles


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_texts_written_for_a_value_keep_it_and_not_all_others_do(part: Part) -> None:
    rng = random.Random(6)
    others = messages(set(), num=200)
    for value in (*part.values, *part.unseen_values):
        principle = part.asking(value)

        assert principle.satisfies(
            write_message(rng, rng.choice(KINDS), "wozzle", set(), "Anna", parts={part.name: value})
        )
        assert sum(map(principle.satisfies, others)) < 190


@pytest.mark.parametrize("word", [*AVOID.values, *AVOID.unseen_values])
def test_every_word_can_be_avoided_in_any_style_of_any_kind(word: str) -> None:
    rng = random.Random(7)
    for kind in KINDS:
        for size in (0, 1, 2):
            for styles in map(frozenset, combinations(NAMES, size)):
                if compatible(styles):
                    write_message(rng, kind, "garden club", styles, "Anna", parts={AVOID.name: word})


def test_parts_and_a_style_fit_into_one_text_which_is_well_formed() -> None:
    rng = random.Random(8)
    parts = {MENTION.name: "flea market", OPEN.name: "Good news"}
    for style in NAMES:
        text = write_message(rng, rng.choice(KINDS), "wozzle", {style}, "Anna", parts=parts | {CLOSE.name: "Fine days"})

        assert text.startswith("Good news. ")
        assert text.endswith(" Fine days.")
        assert "the flea market" in text
        assert is_well_formed(text, "wozzle", "Anna")
        assert not is_well_formed(text.replace("Good news", "Good nuts"), "wozzle", "Anna")


def test_contradicting_principles_are_refused() -> None:
    with pytest.raises(ValueError, match="no text keeps all of"):
        write_message(random.Random(0), "tip", "wozzle", {"concise", "detailed"})


def test_the_same_seed_writes_the_same_text_and_seeds_vary() -> None:
    first = [write_message(random.Random(seed), "update", "wozzle", set()) for seed in range(50)]
    again = [write_message(random.Random(seed), "update", "wozzle", set()) for seed in range(50)]

    assert first == again
    assert len(set(first)) > 45


def test_every_text_carries_its_topic_and_name_and_is_of_the_intended_length() -> None:
    rng = random.Random(3)
    for _ in range(200):
        text = write_message(rng, rng.choice(KINDS), "wozzle kit", set(), "Anna")

        assert "wozzle kit" in text
        assert "Anna," in text
        assert 20 < num_words(text) < 45


def test_well_formed_texts_are_told_from_broken_ones() -> None:
    text = write_message(random.Random(4), "reminder", "wozzle", {"playful"}, "Anna")

    assert is_well_formed(text, "wozzle", "Anna")
    assert not is_well_formed(text, "bicycle", "Anna")
    assert not is_well_formed(text.rsplit(" ", 2)[0], "wozzle", "Anna")


def test_each_principle_has_wordings_of_its_own() -> None:
    wordings = [wording for principle in PRINCIPLES for wording in principle.wordings]

    assert len(set(wordings)) == len(wordings)
    assert all(len(principle.wordings) >= 3 for principle in PRINCIPLES)
