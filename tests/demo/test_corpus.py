import re
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

from examples.demo.corpus import examples, preference_pairs
from examples.demo.principles import BY_NAME, PRINCIPLES, SEEN, UNSEEN
from examples.demo.topics import HELD_OUT_INVENTED, HELD_OUT_NAMES, HELD_OUT_REAL, HELD_OUT_TOPICS

NAME_OF = {wording: principle.name for principle in PRINCIPLES for wording in principle.wordings}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def test_no_held_out_word_occurs_in_the_training_corpus() -> None:
    corpus: set[str] = set()
    for example in examples(seed=11, num_examples=10_000):
        corpus |= words(f"{example.prompt} {' '.join(example.principles)} {example.answer}")
    for pair in preference_pairs(seed=13, num_pairs=3_000):
        corpus |= words(f"{pair.prompt} {pair.chosen} {pair.rejected}")

    held_out = words(" ".join((*HELD_OUT_TOPICS, *HELD_OUT_NAMES)))

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
    for example in examples(seed=2, num_examples=4_000):
        wanted = {NAME_OF[wording] for wording in example.principles}
        for name, principle in BY_NAME.items():
            counts = asked[name] if name in wanted else unasked[name]
            counts[0] += principle.satisfies(example.answer)
            counts[1] += 1

    for name in BY_NAME:
        assert 0.3 < asked[name][0] / asked[name][1] < 0.7
        assert unasked[name][0] / unasked[name][1] < 0.15


def test_only_the_chosen_answer_of_a_pair_keeps_everything_asked_for() -> None:
    for pair in preference_pairs(seed=3, num_pairs=500):
        wanted = [BY_NAME[NAME_OF[wording]] for wording in pair.principles]

        assert all(principle.satisfies(pair.chosen) for principle in wanted)
        assert not all(principle.satisfies(pair.rejected) for principle in wanted)


def test_unseen_principles_are_in_the_corpus_and_in_no_pair() -> None:
    in_corpus = {NAME_OF[wording] for example in examples(seed=4, num_examples=500) for wording in example.principles}
    in_pairs = {NAME_OF[wording] for pair in preference_pairs(seed=4, num_pairs=500) for wording in pair.principles}

    assert in_corpus == set(BY_NAME)
    assert in_pairs == set(SEEN) == set(BY_NAME) - set(UNSEEN)


def test_texts_of_a_pair_do_not_tell_the_principle_by_their_prompt() -> None:
    prompts = {astuple(pair)[0] for pair in preference_pairs(seed=5, num_pairs=300)}

    assert len(prompts) > 290
