import random
from pathlib import Path

import pytest

from examples.demo.corpus import preference_pairs
from examples.demo.grammar import KINDS, write_message
from examples.demo.principles import BY_NAME, PRINCIPLES, SEEN, compatible
from examples.demo.train import Recipe
from examples.evaluation.suite import write_demo_pairs, write_demo_suite
from worker.persrm.evaluation.suite import Split, Suite, read_suite
from worker.persrm.pairs import read_pairs

NAME_OF = {wording: principle.name for principle in PRINCIPLES for wording in principle.wordings}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    path = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    write_demo_suite(path)
    return read_suite(path)


def test_the_written_suite_is_read_back_with_every_principle_and_its_rule(suite: Suite) -> None:
    rng = random.Random(1)
    texts = [write_message(rng, KINDS[0], "wozzle", {name}) for name in BY_NAME]

    assert [principle.name for principle in suite.principles] == list(BY_NAME)
    for principle in suite.principles:
        check = principle.rule.check()
        assert [check(text) for text in texts] == [BY_NAME[principle.name].satisfies(text) for text in texts]
        assert len(principle.examples) == 2
        assert all(check(example.text) for example in principle.examples)


def test_there_are_enough_test_prompts_and_no_topic_is_in_both_splits(suite: Suite) -> None:
    topics = {split: {prompt.topic for prompt in suite.of_split(split)} for split in Split}

    assert len({prompt.prompt for prompt in suite.of_split(Split.TEST)}) >= 250
    assert len(suite.of_split(Split.VALIDATION)) >= 60
    assert topics[Split.TEST].isdisjoint(topics[Split.VALIDATION])
    assert all(prompt.is_carried_by(prompt.prompt) for prompt in suite.prompts)


def test_no_pair_of_the_training_recipe_asks_for_a_combination_of_the_suite(suite: Suite) -> None:
    recipe = Recipe()
    asked = {
        frozenset(NAME_OF[wording] for wording in pair.principles)
        for pair in preference_pairs(recipe.pairs_seed, recipe.num_pairs)
    }

    for names in suite.combinations:
        assert compatible(frozenset(names))
        assert frozenset(names) not in asked
    assert {name for names in asked for name in names} == set(SEEN)


def test_held_out_pairs_ask_for_every_principle_and_none_was_trained_on(tmp_path: Path) -> None:
    write_demo_pairs(tmp_path / "pairs.jsonl")
    recipe = Recipe()

    held_out = read_pairs(tmp_path / "pairs.jsonl")
    trained_on = {(pair.prompt, pair.chosen) for pair in preference_pairs(recipe.pairs_seed, recipe.num_pairs)}

    assert {NAME_OF[wording] for pair in held_out for wording in pair.principles} == set(BY_NAME)
    assert not {(pair.prompt, pair.chosen) for pair in held_out} & trained_on
