"""Which numbers each claim and each goal is judged by."""

from collections.abc import Iterator

from evaluation import claims
from evaluation.bootstrap import Estimate
from evaluation.claims import Claim, Reached
from evaluation.methods import CONTRAST, GUIDED, NO_PREFERENCE, PROMPTED, RANDOM_ADAPTER, WRONG
from evaluation.mixture import Shape
from evaluation.results import Gain, Results
from evaluation.suite import Suite

_MUST_BE_BEATEN = (NO_PREFERENCE.name, WRONG.name, RANDOM_ADAPTER.name)


def judge_claims(suite: Suite, results: Results) -> tuple[Claim, ...]:
    """The verdict on each claim, with what was measured."""
    return (*_about_principles(suite, results), *_about_models(results), *_about_controls(results))


def _about_principles(suite: Suite, results: Results) -> Iterator[Claim]:
    levels = _levels(results)
    yield claims.gains_everywhere(
        "(a) Guided beats prompt-only and unguided on every principle that the PersRM was trained on",
        _gains(results, set(suite.names(seen=True))),
        levels,
    )
    yield claims.gains_everywhere(
        "(b) Principles held out of the PersRM's training move: guided beats prompt-only and unguided on each",
        _gains(results, set(suite.names(seen=False))),
        levels,
    )
    yield claims.gains_everywhere(
        "(b) Unseen combinations move: guided beats prompt-only and unguided on each",
        _gains(results, {" + ".join(names) for names in suite.combinations}),
        levels,
    )
    yield claims.diagonal("(b) Guiding by a principle raises that principle most, of all", _raised(results))


def _about_models(results: Results) -> Iterator[Claim]:
    guided = results.summary(GUIDED.name)
    yield claims.other_bases(
        f"(c) The same PersRM steers at least {claims.NUM_OTHER_BASES} other bases beyond what asking does",
        {base.name: base.over_prompted for base in results.other_bases},
    )
    yield claims.no_worse(
        "(d) One PersRM does no worse than an adapter tuned for each preference",
        results.tuned.guided_over_tuned if results.tuned else None,
    )
    yield claims.at_most(
        f"(e) The price: at most {claims.GOAL_PERPLEXITY_RATIO} times the unguided base's perplexity",
        guided.perplexity_ratio,
        claims.GOAL_PERPLEXITY_RATIO,
        _price(results),
    )


def _about_controls(results: Results) -> Iterator[Claim]:
    gains = {name: (gain,) for name, gain in results.over_controls.items()}
    yield claims.gains_everywhere(
        "It is the reward, for the preference that was asked: guided beats each of these controls",
        {name: gain for name, gain in gains.items() if name in _MUST_BE_BEATEN},
    )
    yield claims.gains_everywhere(
        "A PersRM is worth having: guided beats best of n, and `contrast`, which needs none",
        {name: gain for name, gain in gains.items() if name == CONTRAST.name or name.startswith("best of")},
    )
    yield claims.all_equal(
        "Strength 0 through the guided path is the base, token for token",
        results.strength_zero.num_equal,
        results.strength_zero.num_texts,
    )
    yield claims.all_monotone(
        "`mixture` moves monotonically from one principle to its opposite",
        {
            f"{name} in {' to '.join(sweep.principles)}": shape.value
            for sweep in results.sweeps
            for name, shape in zip(sweep.principles, (sweep.first_shape, sweep.second_shape), strict=True)
        },
        Shape.MONOTONE.value,
    )


def judge_goals(results: Results) -> tuple[Reached, ...]:
    """The goals that the project has set itself."""
    guided, prompted = results.summary(GUIDED.name), results.summary(PROMPTED.name)
    return (
        claims.goal_share("Seen principles satisfied, guided: at least 95 %", guided.seen, claims.GOAL_SEEN),
        claims.goal_unseen(
            "Held-out principles satisfied, guided: at least 85 % or twice prompt-only", guided.unseen, prompted.unseen
        ),
        claims.goal_share("Topic kept, guided: at least 95 %", guided.topic, claims.GOAL_TOPIC),
        claims.goal_at_most(
            "Perplexity under the independent model: at most 1.3 times the unguided base's",
            guided.perplexity_ratio,
            claims.GOAL_PERPLEXITY_RATIO,
        ),
    )


def _gains(results: Results, asked: set[str]) -> dict[str, tuple[Estimate, Estimate]]:
    def both(gain: Gain) -> tuple[Estimate, Estimate]:
        return gain.over_prompted, gain.over_unguided

    return {gain.asked: both(gain) for gain in results.gains if gain.asked in asked}


def _levels(results: Results) -> dict[str, str]:
    """By what was asked: how often it is kept when only asked for, and guided; a gain has no room at the ceiling."""
    levels: dict[str, str] = {}
    for summaries in (results.summaries, results.combinations):
        by_method = {summary.method: summary.by_principle for summary in summaries}
        for asked, guided in by_method.get(GUIDED.name, {}).items():
            prompted = by_method[PROMPTED.name][asked]
            levels[asked] = f"prompt only {100 * prompted.mean:.1f} %, guided {100 * guided.mean:.1f} %"
    return levels


def _raised(results: Results) -> dict[str, dict[str, float]]:
    """By guiding principle: how much more often each principle is kept than in unguided texts."""
    confusion = results.confusion
    return {
        guided_by: {
            name: share - unguided
            for name, share, unguided in zip(confusion.principles, row, confusion.unguided, strict=True)
        }
        for guided_by, row in zip(confusion.principles, confusion.shares, strict=True)
    }


def _price(results: Results) -> str:
    guided, prompted = results.summary(GUIDED.name), results.summary(PROMPTED.name)
    kl = f"KL {guided.kl.mean:.3f} nats a token to the prompted base; " if guided.kl else ""
    times = guided.seconds_per_text / max(prompted.seconds_per_text, 1e-9)
    return f"{kl}{times:.2f} times the wall time of prompt-only."
