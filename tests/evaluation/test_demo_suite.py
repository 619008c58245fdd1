import random
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest

from evaluation.suite import Split, Suite, SuitePrinciple, read_suite
from examples.demo.corpus import ALL_SEEN, preference_pairs
from examples.demo.grammar import KINDS, write_message
from examples.demo.principles import BY_NAME, PRINCIPLES, compatible
from examples.demo.train import Recipe
from examples.evaluation.suite import NEW, write_demo_pairs, write_demo_suite
from worker.persrm.pairs import PreferencePair, read_pairs


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    path = tmp_path_factory.mktemp("suite") / "suite.jsonl"
    write_demo_suite(path)
    return read_suite(path)


@cache
def trained_on() -> list[PreferencePair]:
    recipe = Recipe()
    pairs = preference_pairs(recipe.pairs_seed, recipe.num_pairs)
    return [PreferencePair.model_validate(asdict(pair)) for pair in pairs]


def names_in(suite: Suite, pairs: list[PreferencePair]) -> set[frozenset[str]]:
    """What each pair asks for.

    Known values of things to mention are a few of many: what is no principle of the suite mentions another one.
    """

    @cache
    def name_of(wording: str) -> str:
        return next((principle.name for principle in suite.principles if principle.says(wording)), "mention")

    return {frozenset(map(name_of, pair.principles)) for pair in pairs}


def test_the_written_suite_is_read_back_with_every_style_and_its_rule(suite: Suite) -> None:
    rng = random.Random(1)
    texts = [write_message(rng, KINDS[0], "wozzle", {name}) for name in BY_NAME]

    assert [principle.name for principle in suite.principles if not principle.values] == list(BY_NAME)
    for principle, style in zip(suite.principles, PRINCIPLES, strict=False):
        check = principle.check(None)
        assert [check(text) for text in texts] == [style.satisfies(text) for text in texts]


def test_every_principle_has_examples_that_keep_it(suite: Suite) -> None:
    for principle in suite.principles:
        assert len(principle.examples) == 2
        assert all(principle.check(example.value)(example.text) for example in principle.examples)


def test_new_values_are_values_of_no_pair_and_others_are(suite: Suite) -> None:
    asked = {wording for pair in trained_on() for wording in pair.principles}

    def share_met(principle: SuitePrinciple) -> float:
        return sum(
            any(wording.replace("{value}", value) in asked for wording in principle.wordings)
            for value in principle.values
        ) / len(principle.values)

    shares = {principle.name: share_met(principle) for principle in suite.principles if principle.values}
    assert {name for name, share in shares.items() if share == 0} == {
        *(f"{name}{NEW}" for name in ("mention", "open with", "avoid")),
        "close with",
    }
    assert {name for name, share in shares.items() if share > 0.85} == {"mention", "open with", "avoid"}


def test_there_are_enough_test_prompts_and_no_topic_is_in_both_splits(suite: Suite) -> None:
    topics = {split: {prompt.topic for prompt in suite.of_split(split)} for split in Split}

    assert len({prompt.prompt for prompt in suite.of_split(Split.TEST)}) >= 250
    assert len(suite.of_split(Split.VALIDATION)) >= 60
    assert topics[Split.TEST].isdisjoint(topics[Split.VALIDATION])
    assert all(prompt.is_carried_by(prompt.prompt) for prompt in suite.prompts)


def test_no_pair_of_the_training_recipe_asks_for_a_combination_of_the_suite(suite: Suite) -> None:
    asked = names_in(suite, trained_on())

    for names in suite.combinations:
        assert compatible(frozenset(names))
        assert not [of_pair for of_pair in asked if frozenset(names) <= of_pair]
    assert {name for names in asked for name in names} == set(ALL_SEEN) == set(suite.names(seen=True))


def test_held_out_pairs_ask_for_every_principle_and_none_was_trained_on(tmp_path: Path, suite: Suite) -> None:
    write_demo_pairs(tmp_path / "pairs.jsonl")

    held_out = read_pairs(tmp_path / "pairs.jsonl")

    trained = {(pair.prompt, pair.chosen) for pair in trained_on()}
    assert {name for names in names_in(suite, held_out) for name in names} == {one.name for one in suite.principles}
    assert not {(pair.prompt, pair.chosen) for pair in held_out} & trained
