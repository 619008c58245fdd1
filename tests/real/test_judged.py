"""What sets of judged texts come to."""

import pytest

from evaluation.bootstrap import mean
from evaluation.real.judged import MOST_MOVED, Scale, summarise, wins
from evaluation.real.suite import Direction
from tests.real.judged_texts import judged, principle


def test_a_win_is_a_text_that_keeps_its_principle_further_and_a_tie_is_half() -> None:
    ours = [judged("a", 0.9), judged("b", 0.1), judged("c", 0.5)]
    theirs = [judged("a", 0.2), judged("b", 0.3), judged("c", 0.5)]

    assert wins(ours, theirs).values == [1.0, 0.0, 0.5]


def test_where_a_principle_asks_for_less_the_smaller_number_wins() -> None:
    brief = principle("brief", "length", Direction.DOWN)

    assert wins([judged("a", 10, asked=brief)], [judged("a", 30, asked=brief)]).values == [1.0]


def test_a_text_is_held_against_the_one_for_the_same_principle_and_prompt() -> None:
    brief = principle("brief", "length", Direction.DOWN)
    ours = [judged("a", 1.0), judged("b", 5.0)]

    won = wins(ours, [judged("a", 2.0), judged("a", 0.0, asked=brief)])

    assert (won.values, won.clusters) == ([0.0], ["a"])


def test_one_text_does_not_outweigh_all_where_a_judge_hardly_varies() -> None:
    prompted = [judged("a", 0.0), judged("b", 0.001)]
    scale = Scale.of([judged("a", 0.0), judged("b", 0.0)], prompted)

    assert scale.effect(judged("a", 50.0)) == MOST_MOVED
    assert scale.effect(judged("a", -50.0)) == -MOST_MOVED


def test_perplexity_is_compared_where_both_texts_were_read() -> None:
    ours = [judged("a", 0.0, surprise=3.0), judged("b", 0.0, surprise=9.0), judged("c", 0.0)]
    theirs = [judged("a", 0.0, surprise=2.0), judged("b", 0.0), judged("c", 0.0, surprise=1.0)]
    scale = Scale.of(theirs, theirs)

    ratio = summarise(ours, theirs, scale).perplexity_ratio

    assert ratio is not None
    assert ratio.mean == pytest.approx(2.718, abs=0.01)
    assert summarise(ours, theirs[1:2], scale).perplexity_ratio is None


def test_arms_that_cannot_be_told_apart_win_half() -> None:
    texts = [judged("a", 0.1), judged("b", 0.2)]

    assert mean(wins(texts, texts)).mean == 0.5
