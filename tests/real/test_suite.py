"""The suite of realistic prompts: what the evaluation promises of it."""

from collections import Counter

from evaluation.real.suite import read_suite
from evaluation.suite import Split


def test_it_has_as_many_prompts_and_principles_as_were_promised() -> None:
    suite = read_suite()

    assert len({prompt.prompt for prompt in suite.prompts}) >= 100
    assert len({principle.name for principle in suite.principles}) >= 12
    assert len(Counter(prompt.kind for prompt in suite.prompts)) == 4
    assert {principle.seen for principle in suite.principles} == {True, False}


def test_settings_are_not_chosen_on_prompts_that_are_reported() -> None:
    suite = read_suite()

    validation, test = ({asked.prompt.prompt for asked in suite.draw(split, 100)} for split in Split)

    assert validation
    assert test
    assert not validation & test


def test_fewer_prompts_are_the_first_of_more() -> None:
    suite = read_suite()

    few, more = suite.draw(Split.TEST, 2), suite.draw(Split.TEST, 5)

    assert set(few) < set(more)
    assert more == suite.draw(Split.TEST, 5)


def test_the_wrong_principle_is_judged_by_another_judge() -> None:
    suite = read_suite()
    judges = {wording: principle.judge for principle in suite.principles for wording in principle.wordings}

    for asked in suite.draw(Split.TEST, 3):
        assert judges[asked.wrong] != asked.principle.judge
