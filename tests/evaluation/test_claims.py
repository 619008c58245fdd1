from evaluation import claims
from evaluation.bootstrap import Estimate
from evaluation.claims import Goal, Verdict

CLEAR = Estimate(0.3, 0.2, 0.4)
CHANCE = Estimate(0.02, -0.03, 0.07)
LOSS = Estimate(-0.2, -0.3, -0.1)


def test_a_gain_on_every_principle_holds_and_one_within_chance_refutes_it() -> None:
    held = claims.gains_everywhere("beats", {"formal": (CLEAR, CLEAR), "warm": (CLEAR, CLEAR)})
    refuted = claims.gains_everywhere("beats", {"formal": (CLEAR, CLEAR), "warm": (CHANCE, CLEAR)})

    assert held.verdict is Verdict.HOLDS
    assert refuted.verdict is Verdict.DOES_NOT_HOLD
    assert refuted.because.startswith("Not for warm.")
    assert "+2.0 points (-3.0 to +7.0)" in refuted.because


def test_a_refuted_gain_says_how_high_both_sides_are() -> None:
    refuted = claims.gains_everywhere("beats", {"warm": (CHANCE,)}, {"warm": "prompt only 99.0 %, guided 100.0 %"})

    assert refuted.because.startswith("Not for warm (prompt only 99.0 %, guided 100.0 %).")


def test_what_was_not_measured_is_not_said_to_hold() -> None:
    assert claims.gains_everywhere("beats", {}).verdict is Verdict.NOT_TESTED
    assert claims.other_bases("steers", {}).verdict is Verdict.NOT_TESTED
    assert claims.no_worse("no worse", None).verdict is Verdict.NOT_TESTED
    assert claims.at_most("price", None, 1.3).verdict is Verdict.NOT_TESTED
    assert claims.all_monotone("monotone", {}, "monotone").verdict is Verdict.NOT_TESTED
    assert claims.goal_share("goal", None, 0.9).goal is Goal.NOT_MEASURED


def test_other_bases_must_be_enough_and_all_of_them_steered() -> None:
    assert claims.other_bases("steers", dict.fromkeys("abc", CLEAR)).verdict is Verdict.HOLDS
    assert claims.other_bases("steers", dict.fromkeys("ab", CLEAR)).verdict is Verdict.DOES_NOT_HOLD
    assert claims.other_bases("steers", dict.fromkeys("abc", CLEAR) | {"d": LOSS}).verdict is Verdict.DOES_NOT_HOLD


def test_no_worse_means_that_the_whole_interval_is() -> None:
    assert claims.no_worse("no worse", Estimate(0.0, -0.01, 0.01)).verdict is Verdict.HOLDS
    assert claims.no_worse("no worse", CHANCE).verdict is Verdict.DOES_NOT_HOLD
    assert claims.no_worse("no worse", LOSS).verdict is Verdict.DOES_NOT_HOLD


def test_a_price_above_the_limit_does_not_hold() -> None:
    assert claims.at_most("price", Estimate(1.2, 1.1, 1.4), 1.3).verdict is Verdict.HOLDS
    assert claims.at_most("price", Estimate(1.4, 1.2, 1.5), 1.3).verdict is Verdict.DOES_NOT_HOLD


def test_a_principle_that_raises_another_more_than_itself_breaks_the_diagonal() -> None:
    good = {"a": {"a": 0.9, "b": 0.1}, "b": {"a": 0.0, "b": 0.2}}
    bad = {"a": {"a": 0.9, "b": 0.1}, "b": {"a": 0.3, "b": 0.2}}

    assert claims.diagonal("diagonal", good).verdict is Verdict.HOLDS
    broken = claims.diagonal("diagonal", bad)
    assert broken.verdict is Verdict.DOES_NOT_HOLD
    assert broken.because == "b raises a most."


def test_one_differing_text_and_one_bent_curve_refute_their_claims() -> None:
    assert claims.all_equal("equal", 10, 10).verdict is Verdict.HOLDS
    assert claims.all_equal("equal", 9, 10).verdict is Verdict.DOES_NOT_HOLD
    assert claims.all_monotone("monotone", {"a": "monotone"}, "monotone").verdict is Verdict.HOLDS
    assert claims.all_monotone("monotone", {"a": "monotone", "b": "not"}, "monotone").verdict is Verdict.DOES_NOT_HOLD


def test_goals_are_met_or_missed_by_the_measured_mean() -> None:
    assert claims.goal_share("seen", Estimate(0.95, 0.9, 1.0), 0.95).goal is Goal.MET
    assert claims.goal_share("seen", Estimate(0.94, 0.9, 1.0), 0.95).goal is Goal.MISSED
    assert claims.goal_at_most("ratio", Estimate(1.31, 1.2, 1.4), 1.3).goal is Goal.MISSED
    assert claims.goal_unseen("unseen", Estimate(0.4, 0.3, 0.5), Estimate(0.2, 0.1, 0.3)).goal is Goal.MET
    assert claims.goal_unseen("unseen", Estimate(0.86, 0.8, 0.9), Estimate(0.7, 0.6, 0.8)).goal is Goal.MET
    assert claims.goal_unseen("unseen", Estimate(0.4, 0.3, 0.5), Estimate(0.3, 0.2, 0.4)).goal is Goal.MISSED
